"""Turn a picture of a person and a voice recording into a video of that person speaking.

Data flows in one direction, through two stages that do not know each other::

    audio ─ waveform ─ speech features ─ landmarks ─ conditioning maps ─ latents ─ frames ─ video
            └───────── audio2landmarks ─────────┘ └──────── landmarks2video ────────┘
    face  ─ picture ─ identity landmarks ────┘       identity picture, warped to the landmarks

Docstrings use these letters for shapes:

=== =======================================================================================
B   batch items
T   frames, at the video's rate
N   waveform samples, 16,000 per second
D   feature dimensions
C   channels
H W picture height and width, pixels
h w latent height and width
=== =======================================================================================

Media are uint8, channels last, RGB; models take floats, channels first, in [-1, 1]. Points are
(x right, y down, z smaller toward the camera), in pixels of the picture.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from talkhead.errors import BatchError, NoFaceError, TalkheadError, WeightsError

if TYPE_CHECKING:
    from talkhead.audio2landmarks.animation import MotionOptions
    from talkhead.device import resolve_device, resolve_dtype
    from talkhead.jobs.render_job import RenderJob, check_job, render_job
    from talkhead.landmarks2video.sampling import SamplerOptions
    from talkhead.media.picture import read_picture
    from talkhead.media.video import VideoWriter
    from talkhead.pipelines import (
        MaskNoisePipeline,
        TalkheadPipeline,
        TalkheadPipelineOutput,
        export_to_video,
    )
    from talkhead.pipelines.deprecated import (
        Pipeline,
        load_pipeline,
        predict_landmarks,
        render_frames,
    )
    from talkhead.tracking.face_detector import FaceDetector, choose_face
    from talkhead.tracking.landmark_track import LandmarkTrack
    from talkhead.weights import resolve_weights

__version__ = "0.3.0.dev0"

__all__ = [
    "BatchError",
    "FaceDetector",
    "LandmarkTrack",
    "MaskNoisePipeline",
    "MotionOptions",
    "NoFaceError",
    "Pipeline",
    "RenderJob",
    "SamplerOptions",
    "TalkheadError",
    "TalkheadPipeline",
    "TalkheadPipelineOutput",
    "VideoWriter",
    "WeightsError",
    "__version__",
    "check_job",
    "choose_face",
    "export_to_video",
    "load_pipeline",
    "predict_landmarks",
    "read_picture",
    "render_frames",
    "render_job",
    "resolve_device",
    "resolve_dtype",
    "resolve_weights",
]

# torch takes seconds to import, so each name is imported on first use.
_MODULES = {
    "talkhead.device": ("resolve_device", "resolve_dtype"),
    "talkhead.tracking.face_detector": ("FaceDetector", "choose_face"),
    "talkhead.tracking.landmark_track": ("LandmarkTrack",),
    "talkhead.jobs.render_job": ("RenderJob", "check_job", "render_job"),
    "talkhead.media.picture": ("read_picture",),
    "talkhead.media.video": ("VideoWriter",),
    "talkhead.pipelines": (
        "MaskNoisePipeline",
        "TalkheadPipeline",
        "TalkheadPipelineOutput",
        "export_to_video",
    ),
    "talkhead.audio2landmarks.animation": ("MotionOptions",),
    # model_index.json names talkhead's networks without their modules. diffusers looks them up
    # here, and the base class whose methods load them beside them.
    "diffusers": ("ModelMixin",),
    "talkhead.audio2landmarks.emotion_classifier": ("EmotionClassifier",),
    "talkhead.audio2landmarks.expressions": ("Expressions",),
    "talkhead.audio2landmarks.generator": ("LandmarkGenerator",),
    "talkhead.landmarks2video.autoencoder": ("Autoencoder",),
    "talkhead.landmarks2video.denoiser": ("Denoiser",),
    "talkhead.landmarks2video.mask_noise.video_denoiser": ("VideoDenoiser",),
    "talkhead.landmarks2video.mouth_denoiser": ("MouthDenoiser",),
    "talkhead.landmarks2video.sampling": ("SamplerOptions",),
    "talkhead.pipelines.deprecated": (
        "Pipeline",
        "load_pipeline",
        "predict_landmarks",
        "render_frames",
    ),
    "talkhead.weights": ("resolve_weights",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    if _MODULE_OF[name] != "talkhead.pipelines.deprecated":  # those warn at every use
        globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
