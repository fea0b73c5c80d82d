"""`TalkheadPipeline`: a picture and a voice to frames, in the form of diffusers' pipelines."""

from talkhead.pipeline.output import TalkheadPipelineOutput, export_to_video
from talkhead.pipeline.pretrained import TalkheadPipeline

__all__ = ["TalkheadPipeline", "TalkheadPipelineOutput", "export_to_video"]
