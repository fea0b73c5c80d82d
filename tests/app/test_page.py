"""The page in a real browser."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from talkhead.media.metadata import read_notes
from talkhead.provenance.note import find_note
from tests.app.conftest import MAX_SECONDS, Served
from tests.drawn_face import draw_face
from tests.evaluation.test_report import CHROMIUM_FLAGS
from tests.tiny import write_voice

TIMEOUT_MS = 90_000


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no chromium, chromium-browser or google-chrome is on the PATH")
    from playwright.sync_api import sync_playwright

    spoken = write_voice(tmp_path_factory.mktemp("spoken") / "spoken.wav", 3)
    microphone = [
        *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
        f"--use-file-for-fake-audio-capture={spoken}",
    ]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=program, args=[*CHROMIUM_FLAGS, *microphone]
        )
        yield running
        running.close()


def visit(browser: Any, served: Served, width: int = 1280) -> Any:
    """Open the page as a new visitor, who has no cookie."""
    tab = browser.new_context(viewport={"width": width, "height": 900}).new_page()
    tab.set_default_timeout(TIMEOUT_MS)
    tab.asked = []
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.goto(served.url)
    tab.wait_for_selector("#generate")
    return tab


def fill(tab: Any, face: Path, sound: Path) -> None:
    tab.set_input_files("#picture input[type=file]", face)
    tab.wait_for_selector("#picture img")
    add_sound(tab, sound)


def add_sound(tab: Any, sound: Path) -> None:
    tab.set_input_files("#voice input[type=file]", sound)
    tab.wait_for_selector("#voice #waveform")


def render(tab: Any) -> str:
    """Generate a video, and return its address once it can be played."""
    tab.click("#generate")
    tab.wait_for_selector("#result video")
    tab.wait_for_function("document.querySelector('#result video').readyState >= 2")
    address: str = tab.evaluate("document.querySelector('#result video').currentSrc")
    return address


def test_two_visitors_render_and_do_not_see_each_others_files(
    browser: Any, served: Served, face: Path, sound: Path, tmp_path: Path
) -> None:
    first, second = visit(browser, served), visit(browser, served, width=390)
    other = write_voice(tmp_path / "other.wav", 0.8, seed=1)
    fill(first, face, sound)
    fill(second, face, other)
    second.click("#generate")  # renders at the same time
    videos = [render(first)]
    second.wait_for_selector("#result video")
    videos.append(second.evaluate("document.querySelector('#result video').currentSrc"))

    assert [address.rsplit("/", 1)[-1] for address in videos] == ["voice.mp4", "other.mp4"]
    for tab, own, foreign in ((first, "voice", "other"), (second, "other", "voice")):
        shown = tab.content() + "".join(tab.asked)
        assert f"{own}.mp4" in shown
        assert f"{foreign}." not in shown
        # Nothing comes from another machine.
        assert [
            url for url in tab.asked if not url.startswith((served.url, "blob:", "data:"))
        ] == []
        assert "synthetic" in tab.inner_text("#state")
    for name in ("Several voices", "Landmarks", "Live", "Video"):
        open_tab(second, name)
        assert second.evaluate("document.documentElement.scrollWidth") == 390, name
    # Folders are not listed, so that addresses cannot be found either.
    for folder in (videos[1].rsplit("/", 1)[0], videos[1].rsplit("/", 2)[0]):
        assert first.request.get(folder).status in (403, 404)

    with first.expect_download() as download:
        first.click("#result a[download]")
    note = find_note(read_notes(Path(download.value.path())))
    assert note is not None
    assert note.synthetic


def test_cancel_ends_a_render(browser: Any, served: Served, face: Path, tmp_path: Path) -> None:
    tab = visit(browser, served)
    fill(tab, face, write_voice(tmp_path / "long.wav", MAX_SECONDS - 1))
    tab.click("#generate")
    tab.wait_for_selector("#state .bar")
    tab.click("#cancel")
    tab.wait_for_function("document.querySelector('#state').innerText.includes('Cancelled')")
    # The pipeline is free again.
    tab.click("#voice button[aria-label=Clear]")
    add_sound(tab, write_voice(tmp_path / "short.wav", 0.2))
    assert render(tab).endswith("/short.mp4")


def test_a_wrong_file_gets_the_message(browser: Any, served: Served, sound: Path) -> None:
    tab = visit(browser, served)
    wrong = {"name": "notes.png", "mimeType": "image/png", "buffer": b"not a picture"}
    tab.set_input_files("#picture input[type=file]", wrong)
    tab.wait_for_selector("text=notes.png is not a picture in a supported format")
    add_sound(tab, sound)
    tab.click("#generate")
    tab.wait_for_function("document.body.innerText.split('notes.png is not a picture').length > 2")


def open_tab(tab: Any, name: str) -> None:
    tab.get_by_role("tab", name=name, exact=True).click()


def files_of(served: Served, stem: str) -> list[Path]:
    return [path for path in served.folder.rglob("*") if path.stem == stem]


def wait_until_gone(served: Served, stem: str) -> None:
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while files_of(served, stem):
        assert time.monotonic() < deadline, files_of(served, stem)
        time.sleep(0.1)


def test_a_closed_tab_frees_its_files(
    browser: Any, served: Served, face: Path, tmp_path: Path
) -> None:
    tab = visit(browser, served)
    fill(tab, face, write_voice(tmp_path / "leaver.wav", 0.3, seed=2))
    render(tab)
    assert {path.suffix for path in files_of(served, "leaver")} == {".wav", ".mp4"}
    tab.context.close()
    wait_until_gone(served, "leaver")


def test_a_closed_tab_ends_its_render(
    browser: Any, served: Served, face: Path, tmp_path: Path
) -> None:
    tab = visit(browser, served)
    fill(tab, face, write_voice(tmp_path / "gone.wav", MAX_SECONDS - 1, seed=3))
    tab.click("#generate")
    tab.wait_for_selector("#state .bar")
    tab.context.close()
    wait_until_gone(served, "gone")
    other = visit(browser, served)
    fill(other, face, write_voice(tmp_path / "next.wav", 0.2))
    assert render(other).endswith("/next.mp4")


def test_faces_are_chosen_by_a_click_for_a_batch_too(
    browser: Any, served: Served, tmp_path: Path, detector_is_here: None
) -> None:
    pair = np.concatenate([draw_face(256), draw_face(256)], axis=1)
    Image.fromarray(pair).save(tmp_path / "pair.png")
    tab = visit(browser, served)
    open_tab(tab, "Several voices")
    tab.set_input_files("#batch-picture input[type=file]", tmp_path / "pair.png")
    faces = tab.locator("#batch-faces img")
    faces.wait_for()
    tab.locator("button:has-text('Options'):visible").click()
    choice = tab.locator("input[aria-label='Who speaks']:visible")
    size = faces.bounding_box()
    for part, number in ((0.75, "2"), (0.25, "1")):
        faces.click(position={"x": size["width"] * part, "y": size["height"] / 2})
        tab.wait_for_function(
            f"[...document.querySelectorAll('[aria-label=\"Who speaks\"]')]"
            f".some(each => each.value === '{number}')"
        )
        assert choice.input_value() == number


def test_names_with_markup_are_text(browser: Any, served: Served, face: Path) -> None:
    tab = visit(browser, served)
    open_tab(tab, "Several voices")
    tab.set_input_files("#batch-picture input[type=file]", face)
    tab.wait_for_selector("#batch-picture img")
    name = "<img src=x onerror=window.hacked=1>.wav"
    tab.set_input_files(
        "#voices input[type=file]", {"name": name, "mimeType": "audio/wav", "buffer": b"none"}
    )
    tab.wait_for_selector("#voices .file-preview")
    tab.click("#generate-all")
    tab.wait_for_function("document.querySelector('#states').innerText.includes('as audio')")
    assert tab.locator("#states img, #voices .file-preview img").count() == 0
    assert tab.evaluate("window.hacked") is None


def test_a_face_speaks_live_and_another_visitor_is_told_that_it_is_busy(
    browser: Any, served: Served, face: Path, sound: Path
) -> None:
    tab, other = visit(browser, served), visit(browser, served)
    for each in (tab, other):
        open_tab(each, "Live")
        each.set_input_files("#live-picture input[type=file]", face)
        each.wait_for_selector("#live-picture img")
    tab.evaluate(
        """() => {
          window.seen = new Set();
          const image = document.querySelector('#screen img');
          const note = () => image.src.startsWith('data:image/jpeg') && window.seen.add(image.src);
          new MutationObserver(note).observe(image, {attributes: true});
        }"""
    )
    tab.click("#microphone button:has-text('Record')")
    tab.wait_for_function("window.seen.size > 2")
    assert "Speak" in tab.inner_text("#live-state")
    other.click("#microphone button:has-text('Record')")
    other.wait_for_selector("text=the server is busy with other visitors: try again soon")
    tab.click("#microphone button:has-text('Stop')")
    tab.wait_for_function("document.querySelector('#live-state').innerText.includes('closed')")
    tab.evaluate("window.seen.clear()")
    tab.click("#microphone button:has-text('Record')")
    tab.wait_for_function("window.seen.size > 1")
    tab.click("#microphone button:has-text('Stop')")
    tab.wait_for_function("document.querySelector('#live-state').innerText.includes('closed')")
    # The pipeline is free again.
    open_tab(tab, "Video")
    fill(tab, face, sound)
    render(tab)
