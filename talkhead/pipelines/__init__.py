"""`TalkheadPipeline`: frames from a picture and a voice, with the interface of diffusers."""

from talkhead.pipelines.output import TalkheadPipelineOutput, export_to_video
from talkhead.pipelines.talkhead_pipeline import TalkheadPipeline

__all__ = ["TalkheadPipeline", "TalkheadPipelineOutput", "export_to_video"]
