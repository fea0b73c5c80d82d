"""Every ending is written and read back."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from talkhead.errors import TalkheadError
from talkhead.media.containers import GIF, WEBP, check_length, check_video_name
from talkhead.media.metadata import probe_streams, read_notes
from talkhead.media.tracks import list_tracks
from talkhead.media.video import VideoWriter, probe_video, read_frames
from tests.tracks import loudness, run

WIDTH, HEIGHT, NUM_FRAMES = 128, 96, 12
NOTES = {"comment": "Synthetic: a test", "description": '{"a": "<é> & \\"b\\""}'}
CODECS = {
    "a.webm": ("vp9", "opus"),
    "a.mov": ("prores", "pcm_s24le"),
    "a.gif": ("gif", None),
    "a.webp": ("webp_anim", None),
}

Pixels = npt.NDArray[np.uint8]


def moving(has_alpha: bool = False) -> Pixels:
    """Return frames in which a block moves over a ramp; its alpha is a ramp, too."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    frames = np.zeros((NUM_FRAMES, HEIGHT, WIDTH, 4), np.uint8)
    frames[..., 0], frames[..., 1], frames[..., 2] = 60 + x, 60 + y, 90
    frames[..., 3] = ((x - 32) * 4).clip(0, 255)
    for number, frame in enumerate(frames):
        frame[40:56, 8 * number : 8 * number + 16, :3] = (200, 40, 40)
    return frames if has_alpha else np.ascontiguousarray(frames[..., :3])


def write(path: Path, frames: Pixels, sound: Path | None, fps: int = 25) -> Path:
    writer = VideoWriter(
        path,
        size=(frames.shape[2], frames.shape[1]),
        fps=Fraction(fps),
        sound=sound,
        metadata=NOTES,
        overwrite=True,
        has_alpha=frames.shape[-1] == 4,
    )
    with writer:
        writer.write(frames)
    return path


def rgba(path: Path) -> Pixels:
    """Decode all frames with their transparency."""
    codec = ["-c:v", "libvpx-vp9"] if path.suffix == ".webm" else []
    shape = (-1, HEIGHT, WIDTH, 4)
    raw = run(*codec, "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgba", "-")
    return np.frombuffer(raw, np.uint8).reshape(shape)


@pytest.mark.parametrize("name", CODECS)
def test_frames_sound_and_notes_come_back(name: str, tmp_path: Path, wav: Path) -> None:
    made = write(tmp_path / name, moving(), wav)
    streams = probe_streams(made)
    assert (streams.video_codec, streams.audio_codec) == CODECS[name]
    frames = np.stack(list(read_frames(made, fps=Fraction(25))))[:NUM_FRAMES]
    limit = 6 if name == "a.gif" else 3  # 256 colours, dithered
    assert np.abs(frames - moving().astype(float)).mean() < limit
    notes = read_notes(made)
    assert {key: notes[key] for key in NOTES} == NOTES
    if CODECS[name][1] is not None:
        assert probe_video(made).duration_s == pytest.approx(2, abs=0.03)


@pytest.mark.parametrize("name", CODECS)
def test_the_same_input_gives_the_same_bytes(name: str, tmp_path: Path, wav: Path) -> None:
    first = write(tmp_path / name, moving(), wav).read_bytes()
    assert write(tmp_path / name, moving(), wav).read_bytes() == first


def test_pcm_beside_prores_loses_nothing_and_opus_is_copied(
    tmp_path: Path, wav: Path, chirp: npt.NDArray[np.float32]
) -> None:
    made = write(tmp_path / "a.mov", moving(), wav)
    samples = np.frombuffer(run("-i", str(made), "-f", "s16le", "-"), np.int16)
    assert np.abs(samples / 32768 - chirp).max() <= 1 / 32768
    opus = tmp_path / "voice.opus"
    run("-i", str(wav), "-c:a", "libopus", str(opus))
    made = write(tmp_path / "a.webm", moving(), opus)
    copies = [
        run("-i", str(path), "-map", "0:a", "-c", "copy", "-f", "data", "-")
        for path in (opus, made)
    ]
    assert copies[0] == copies[1] != b""


@pytest.mark.parametrize(("name", "limit"), [("a.webm", 6), ("a.mov", 2), ("a.webp", 3)])
def test_transparency_comes_back_with_all_its_steps(
    name: str, limit: float, tmp_path: Path
) -> None:
    frames = moving(has_alpha=True)
    seen = rgba(write(tmp_path / name, frames, None))[:NUM_FRAMES].astype(float)
    assert np.abs(seen[..., 3] - frames[..., 3]).max() <= 3 * limit
    assert np.abs(seen[..., 3] - frames[..., 3]).mean() <= limit / 4
    between = (seen[..., 3] > 20) & (seen[..., 3] < 235)
    assert between.mean() > 0.3
    solid = frames[..., 3] > 200
    assert np.abs(seen[..., :3] - frames[..., :3])[solid].mean() < 4


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.gif"])
def test_what_cannot_be_transparent_says_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match=f"{name[2:]} cannot be transparent"):
        write(tmp_path / name, moving(has_alpha=True), None)


def test_a_gif_is_scaled_down_and_repeats_for_ever(tmp_path: Path) -> None:
    made = write(tmp_path / "a.gif", np.zeros((4, 400, 600, 3), np.uint8), None, fps=50)
    with Image.open(made) as image:
        assert (image.size, image.info["loop"], image.info["duration"]) == ((480, 320), 0, 40)


def test_one_frame_makes_a_webp_with_notes(tmp_path: Path) -> None:
    made = write(tmp_path / "a.webp", moving()[:1], None)
    assert read_notes(made) == NOTES
    with Image.open(made) as image:
        image.load()
        assert image.size == (WIDTH, HEIGHT)


def test_short_formats_refuse_long_videos(tmp_path: Path) -> None:
    for each in (GIF, WEBP):
        path = tmp_path / f"a.{each.name}"
        assert each.max_s is not None
        check_length(path, each.max_s)
        with pytest.raises(TalkheadError, match=f"at most {each.max_s:g} s"):
            check_length(path, each.max_s + 0.1)
    check_length(tmp_path / "a.webm", 36_000)


def test_other_endings_are_refused_by_name(tmp_path: Path) -> None:
    for name in ("a.avi", "a", "out/%05d.png"):
        with pytest.raises(TalkheadError, match=r"no video suffix; end the output's name in \.mp4"):
            check_video_name(tmp_path / name)


def test_a_silent_video_has_no_sound_track(tmp_path: Path, wav: Path) -> None:
    for name in ("a.gif", "a.webp"):
        made = write(tmp_path / name, moving(), wav)
        assert [track.kind for track in list_tracks(made)] == ["Video"]
    assert loudness(write(tmp_path / "a.mov", moving(), wav), 1, 350, 0.2, 1) > 0
