"""`TalkheadPipeline` and `MaskNoisePipeline`: the only place where the two stages meet.

`base` loads, saves and moves them, `call` is their call, and `stages` joins the stages.

Importing this package makes both classes known to diffusers, so that
`diffusers.DiffusionPipeline.from_pretrained` loads what `save_pretrained` wrote.
"""

import diffusers

from talkhead.pipelines.base import FacePipeline
from talkhead.pipelines.mask_noise_pipeline import MaskNoisePipeline
from talkhead.pipelines.output import TalkheadPipelineOutput, export_to_video
from talkhead.pipelines.talkhead_pipeline import TalkheadPipeline
from talkhead.weights.systems import System

__all__ = [
    "FacePipeline",
    "MaskNoisePipeline",
    "TalkheadPipeline",
    "TalkheadPipelineOutput",
    "export_to_video",
    "pipeline_class",
]

_PIPELINES: dict[str, type[FacePipeline]] = {
    pipeline.__name__: pipeline for pipeline in (TalkheadPipeline, MaskNoisePipeline)
}


def pipeline_class(system: System) -> type[FacePipeline]:
    """Return the class of a system's pipeline."""
    return _PIPELINES[system.pipeline]


# DiffusionPipeline looks the class that model_index.json names up in diffusers alone.
for _name, _pipeline in _PIPELINES.items():
    setattr(diffusers, _name, _pipeline)
