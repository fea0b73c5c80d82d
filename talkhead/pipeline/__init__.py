"""`TalkheadPipeline`: frames from a picture and a voice, with the interface of diffusers."""

from talkhead.pipeline.output import TalkheadPipelineOutput, export_to_video
from talkhead.pipeline.pretrained import TalkheadPipeline

__all__ = ["TalkheadPipeline", "TalkheadPipelineOutput", "export_to_video"]
