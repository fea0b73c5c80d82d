"""A real video generated in the test: a portrait warped so that its mouth opens and shuts."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from talkhead.data.clips import Clip, encode_frames
from talkhead.evaluation.frames import BATCH_FRAMES, Reference, detect_points
from talkhead.evaluation.systems import EvalClip, frame_generators
from talkhead.geometry.crop import face_crops
from talkhead.geometry.mesh import mouth_opening
from talkhead.media.picture import read_picture
from talkhead.media.rates import DEFAULT_FPS
from talkhead.media.video import VideoWriter, read_frames
from talkhead.tracking.face_detector import FaceDetector
from tests.meshes import opened
from tests.prepared import describe_clip, voice

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

FACE = Path(__file__).parents[2] / "examples/face.png"


def talking_frames(count: int = 60) -> Pixels:
    """The example's face, 256 px, with a mouth that opens at an uneven pace; (T, 256, 256, 3)."""
    picture = read_picture(FACE).pixels
    with FaceDetector() as detector:
        mesh = detector.detect(picture)[0]
    (crop,) = face_crops(mesh[None], 25.0)
    small, mesh = crop.extract(picture), crop.to_crop(mesh)
    time = np.arange(count) / 25
    amount = 6 * (1 + np.sin(2 * np.pi * (1.3 * time + 0.25 * time**2)))
    meshes = np.stack([opened(mesh, float(by)) for by in amount]).astype(np.float32)
    meshes[0] = mesh
    jpeg, offsets = encode_frames([small] * count)
    opening = mouth_opening(meshes)
    clip = Clip(
        landmarks=meshes,
        crops=np.tile(np.array([128, 128, 256], np.float32), (count, 1)),
        waveform=(voice(0.1 * opening, 0) * 32767).round().clip(-32768, 32767).astype(np.int16),
        jpeg=jpeg,
        jpeg_offsets=offsets,
    )
    eval_clip = EvalClip(describe_clip("face", clip), clip)
    generate = frame_generators({}, from_sound=True)["plain warp"]
    return np.concatenate(list(generate(eval_clip)))


def written(folder: Path, name: str, frames: Pixels, crf: int = 12) -> Path:
    """Write frames as an mp4."""
    path = folder / f"{name}.mp4"
    with VideoWriter(path, size=(256, 256), fps=DEFAULT_FPS, sound=None, crf=crf) as writer:
        writer.write(frames)
    return path


def batches(frames: Pixels, size: int = BATCH_FRAMES) -> list[Pixels]:
    """Cut frames into batches."""
    return [frames[start : start + size] for start in range(0, len(frames), size)]


def read_all(path: Path) -> Pixels:
    """Read a whole video."""
    return np.stack(list(read_frames(path)))


def reference_of(frames: Pixels, size: int = BATCH_FRAMES) -> Reference:
    """Describe a real clip: the last fifth of it is silent."""
    points = np.stack(list(detect_points(batches(frames))))
    quiet = np.arange(len(frames)) >= 0.8 * len(frames)
    return Reference(lambda: iter(batches(frames, size)), points, points, 25.0, quiet, [])
