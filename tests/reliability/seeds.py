"""Real files to damage, made on the spot: pictures, sounds, videos, tracks, settings, weights."""

import json
import shutil
import sys
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from talkhead.geometry.mesh import MEAN_FACE
from talkhead.media import ffmpeg
from talkhead.tracking.landmark_track import LandmarkTrack
from tests.drawn_face import draw_face
from tests.prepared import write_prepared
from tests.tiny import write_tiny_weights, write_voice

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SIDE_PX = 160
SOUND_S = 0.4
_EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_SOUNDS = {
    "pcm16.wav": (),
    "float.wav": ("-c:a", "pcm_f32le"),
    "stereo.wav": ("-ac", "2", "-ar", "44100"),
    "voice.flac": ("-sample_fmt", "s16"),
    "voice.mp3": (),
    "voice.ogg": ("-c:a", "libvorbis"),
    "voice.opus": ("-c:a", "libopus", "-ar", "48000"),
    "voice.m4a": (),
    "voice.aac": (),
    "voice.aiff": (),
    "voice.au": (),
    "voice.caf": (),
    "voice.mka": ("-c:a", "flac"),
}
_VIDEOS = {
    "face.mp4": ("-c:v", "libx264"),
    "parts.mp4": ("-c:v", "libx264", "-movflags", "+frag_keyframe+empty_moov"),
    "face.mov": ("-c:v", "mjpeg", "-c:a", "pcm_s16le"),
    "face.mkv": ("-c:v", "ffv1", "-c:a", "libvorbis"),
    "face.webm": ("-c:v", "libvpx-vp9", "-c:a", "libopus", "-ar", "48000"),
    "face.avi": ("-c:v", "mpeg4", "-c:a", "libmp3lame"),
    "face.mpg": ("-c:v", "mpeg2video", "-c:a", "mp2"),
    "turned.mp4": ("-c:v", "libx264", "-r", "30", "-g", "3"),
}


@dataclass(frozen=True)
class Seeds:
    """Where the real files are. Nothing writes there once they are made."""

    folder: Path
    face: Path
    voice: Path
    video: Path
    weights: Path
    prepared: Path
    pictures: tuple[Path, ...]
    sounds: tuple[Path, ...]
    videos: tuple[Path, ...]
    tracks: tuple[Path, ...]
    settings: tuple[Path, ...]


def make_seeds(folder: Path) -> Seeds:
    """Make every file that the cases start from."""
    folder.mkdir(parents=True)
    face = folder / "face.png"
    Image.fromarray(draw_face(SIDE_PX)).save(face)
    voice = write_voice(folder / "voice.wav", SOUND_S)
    videos = _videos(folder / "videos", face, voice)
    settings = tuple(
        path for path in sorted(_EXAMPLES.glob("train-*.toml")) if "published" not in path.name
    )
    return Seeds(
        folder=folder,
        face=face,
        voice=voice,
        video=videos[0],
        weights=write_tiny_weights(folder / "weights"),
        prepared=_prepared(folder / "prepared"),
        pictures=_pictures(folder / "pictures"),
        sounds=_sounds(folder / "sounds", voice),
        videos=videos,
        tracks=_tracks(folder / "tracks"),
        settings=settings,
    )


def task_of(settings: Path) -> str:
    """Return the task that a file of settings in the examples is for: train-TASK-MORE.toml."""
    return settings.stem.split("-")[1]


def read_settings(path: Path) -> dict[str, object]:
    """Read one of the examples' files of settings."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _pictures(folder: Path) -> tuple[Path, ...]:
    """Write a face in every format that Pillow writes, in a mode that it has."""
    folder.mkdir()
    pixels = Image.fromarray(draw_face(SIDE_PX))
    Image.init()
    made = []
    for name in sorted(Image.SAVE):
        for mode in ("RGB", "L", "1"):
            path = folder / f"{name.lower()}.{_suffix(name)}"
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of formats that Pillow will drop
                    pixels.convert(mode).save(path, name)
            except (OSError, ValueError, KeyError, AttributeError, TypeError, ImportError):
                path.unlink(missing_ok=True)
            else:
                made.append(path)
                break
    more: dict[str, tuple[Image.Image, dict[str, object]]] = {
        "clear.png": (pixels.convert("RGBA"), {}),
        "palette.png": (pixels.convert("P"), {}),
        "grey16.png": (
            Image.fromarray(np.asarray(pixels.convert("L")).astype(np.uint16) * 257),
            {},
        ),
        "moving.png": (pixels, {"save_all": True, "append_images": [pixels.rotate(9)] * 3}),
        "slow.jpg": (pixels, {"progressive": True}),
        "cmyk.jpg": (pixels.convert("CMYK"), {}),
        "moving.webp": (pixels, {"save_all": True, "append_images": [pixels.rotate(9)] * 3}),
        "exact.webp": (pixels, {"lossless": True}),
        "packed.tif": (pixels, {"compression": "tiff_adobe_deflate"}),
        "lzw.tif": (pixels, {"compression": "tiff_lzw"}),
        "moving.gif": (pixels, {"save_all": True, "append_images": [pixels.rotate(9)] * 3}),
    }
    for name, (image, options) in more.items():
        image.save(folder / name, **options)  # type: ignore[arg-type]
        made.append(folder / name)
    return tuple(made)


def _suffix(name: str) -> str:
    suffixes = sorted(suffix for suffix, of in Image.EXTENSION.items() if of == name)
    return suffixes[0].lstrip(".") if suffixes else name.lower()


def _sounds(folder: Path, voice: Path) -> tuple[Path, ...]:
    folder.mkdir()
    for name, options in _SOUNDS.items():
        _convert("-i", str(voice), *options, str(folder / name))
    return tuple(sorted(folder.iterdir()))


def _videos(folder: Path, face: Path, voice: Path) -> tuple[Path, ...]:
    folder.mkdir()
    for name, options in _VIDEOS.items():
        picture = ("-loop", "1", "-framerate", "25", "-i", str(face))
        rest = ("-t", str(SOUND_S), "-pix_fmt", "yuv420p", *options, str(folder / name))
        _convert(*picture, "-i", str(voice), *rest)
    return tuple(sorted(folder.iterdir()))


def _convert(*arguments: str) -> None:
    status, _, messages = ffmpeg.run_ffmpeg(["-y", "-loglevel", "error", *arguments])
    if status != 0:
        raise RuntimeError(f"ffmpeg cannot make a seed: {messages}")


def _tracks(folder: Path) -> tuple[Path, ...]:
    folder.mkdir()
    points = np.repeat(MEAN_FACE[None] * SIDE_PX * 0.27, 6, axis=0)
    points[:, :, :2] += SIDE_PX / 2
    points[:, :, 0] += np.arange(6)[:, None]
    track = LandmarkTrack(points.astype(np.float32), Fraction(25), (SIDE_PX, SIDE_PX), "drawn")
    for name in ("track.json", "track.npz"):
        track.write(folder / name)
    return folder / "track.json", folder / "track.npz"


def _prepared(folder: Path) -> Path:
    write_prepared(folder, num_frames=60)
    done = folder / "done"
    done.mkdir()
    for clip in ("anna", "bert", "cleo"):
        record = {"clips": [clip], "dropped": "", "frames": 60, "frames_without_face": 0}
        (done / f"{clip}.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def copy_tree(source: Path, target: Path) -> Path:
    """Copy a folder of seeds to be damaged."""
    shutil.copytree(source, target)
    return target
