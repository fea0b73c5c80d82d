"""Make the pictures of the pages on the app, ComfyUI and translation, from the examples alone.

    python docs/pictures.py [app] [comfyui] [translation]

It needs the extra `dev`, Chromium, and for `translation` espeak-ng.
"""

from __future__ import annotations

import importlib.util
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from PIL import Image

TOP = Path(__file__).resolve().parents[1]
MEDIA, EXAMPLES = TOP / "docs" / "media", TOP / "examples"
FACE, SPEECH = EXAMPLES / "face.png", EXAMPLES / "speech.wav"
PORT, SECONDS = 7998, 1.2
MAX_BYTES = 150_000
OLD_COLOUR, NEW_COLOUR = "#94a3b8", "#4f46e5"
SUBTITLES = "1\n00:00:00,700 --> 00:00:01,700\nGuten Morgen!\n"


def app(folder: Path) -> Image.Image:
    """Photograph the page after a render."""
    from playwright.sync_api import sync_playwright

    sound = short_speech(folder, SECONDS)
    command = [sys.executable, "-m", "talkhead", "app", "--port", str(PORT), "--offline"]
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True) as page:
        try:
            assert page.stdout is not None
            url = page.stdout.readline().strip()
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
                tab = browser.new_page(viewport={"width": 1180, "height": 1010})
                tab.set_default_timeout(600_000)
                tab.goto(url)
                tab.set_input_files("#picture input[type=file]", FACE)
                tab.set_input_files("#voice input[type=file]", sound)
                tab.wait_for_selector("#picture img")
                tab.wait_for_selector("#voice #waveform")
                tab.click("#generate")
                tab.wait_for_selector("#result video")
                tab.wait_for_function("document.querySelector('#result video').readyState >= 2")
                tab.evaluate("document.querySelector('#result video').currentTime = 0.5")
                # How long it took depends on the machine.
                tab.evaluate(
                    "const line = document.querySelector('#state .state').firstChild;"
                    "line.data = line.data.replace(/, rendered in .*/, '')"
                )
                tab.wait_for_timeout(2000)
                shot = tab.screenshot()
                browser.close()
        finally:
            page.terminate()
    return Image.open(io.BytesIO(shot)).convert("RGB")


def comfyui(folder: Path) -> Image.Image:
    """Put the picture, and frames that the node makes of it, side by side."""
    node = module_of(EXAMPLES / "comfyui" / "__init__.py").Talkhead()
    picture = np.asarray(Image.open(FACE).convert("RGB"))
    samples, rate_hz = soundfile.read(short_speech(folder, SECONDS), dtype="float32")
    values = {
        name: rest[0]["default"]
        for name, (kind, *rest) in node.INPUT_TYPES()["required"].items()
        if kind not in ("IMAGE", "AUDIO")
    }
    frames, _, _ = node.render(
        torch.from_numpy(picture.copy())[None] / 255,
        {"waveform": torch.from_numpy(samples)[None, None], "sample_rate": rate_hz},
        **values | {"fps": 12.5},
    )
    shown = [picture, *(frames[number] * 255 for number in (1, 3, 5, 7, 9))]
    strip = Image.new("RGB", (6 * 180 + 16, 180), "white")
    for number, each in enumerate(shown):
        face = Image.fromarray(np.asarray(each).round().astype(np.uint8)[:230, 110:340])
        # A gap lies between what goes in and what comes out.
        strip.paste(face.resize((180, 180)), (number * 180 + 16 * (number > 0), 0))
    return strip


def translation(folder: Path) -> Image.Image:
    """Show a frame of a dubbed video, and the sounds of both."""
    from matplotlib.figure import Figure

    from talkhead.media.audio_clip import AudioClip
    from talkhead.media.video import read_frames

    film, lines, dubbed = folder / "film.mp4", folder / "lines.srt", folder / "dubbed.mp4"
    lines.write_text(SUBTITLES, encoding="utf-8")
    run("-m", "talkhead", "render", FACE, short_speech(folder, 2.4), "-o", film, "--fps", "12.5")
    voice = ("espeak-ng", "-v", "de", "-w", "{wav}", "{text}")
    run(EXAMPLES / "dub_translation.py", film, lines, dubbed, "--", *voice)
    frame = list(read_frames(dubbed))[14]
    figure = Figure(figsize=(10.8, 2.7), dpi=100, layout="constrained")
    picture, plot = figure.subplots(1, 2, width_ratios=(1, 3))
    picture.imshow(frame[:300, 80:380])
    picture.axis("off")
    for number, (path, name) in enumerate(((film, "talk.mp4"), (dubbed, "dubbed.mp4"))):
        samples = AudioClip.open(path).waveform()
        times_s = np.arange(len(samples)) / 16_000
        is_new = (times_s > 0.7) & (times_s < 1.7) & (number == 1)
        for colour, chosen in ((OLD_COLOUR, ~is_new), (NEW_COLOUR, is_new)):
            shown = np.where(chosen, samples / np.abs(samples).max(), np.nan)
            plot.plot(times_s, shown - 2.2 * number, color=colour, linewidth=0.6)
        plot.text(-0.05, -2.2 * number, name, ha="right", va="center")
    plot.axvspan(0.7, 1.7, color=NEW_COLOUR, alpha=0.1)
    plot.text(1.2, 1.2, "Guten Morgen!", ha="center", color=NEW_COLOUR)
    plot.set_yticks([])
    plot.set_xlabel("seconds")
    plot.spines[["top", "left", "right"]].set_visible(False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return Image.open(drawn).convert("RGB")


def short_speech(folder: Path, seconds: float) -> Path:
    """Cut the first seconds of the example."""
    samples, rate_hz = soundfile.read(SPEECH)
    path = folder / "speech.wav"
    soundfile.write(path, samples[: round(seconds * rate_hz)], rate_hz)
    return path


def module_of(path: Path) -> Any:
    """Import a file that is in no package."""
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*words: object) -> None:
    """Run a Python program in the checkout."""
    subprocess.run([sys.executable, *map(str, words)], cwd=TOP, check=True)


PICTURES: dict[str, Callable[[Path], Image.Image]] = {
    each.__name__: each for each in (app, comfyui, translation)
}


def main() -> None:
    """Make the pictures that are named, or all of them."""
    for name in sys.argv[1:] or PICTURES:
        with tempfile.TemporaryDirectory() as folder:
            picture = PICTURES[name](Path(folder))
        path = MEDIA / f"{name}.webp"
        picture.save(path, quality=80, method=6)
        assert path.stat().st_size < MAX_BYTES, path
        sys.stderr.write(f"{path}: {picture.width} x {picture.height} px\n")


if __name__ == "__main__":
    main()
