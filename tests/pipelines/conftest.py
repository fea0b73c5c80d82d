from pathlib import Path

import pytest

from talkhead.pipelines import TalkheadPipeline, TalkheadPipelineOutput
from tests.pipelines.outputs import FACE, VOICE


@pytest.fixture(scope="module")
def pipeline(tiny_weights: Path) -> TalkheadPipeline:
    return TalkheadPipeline.from_pretrained(tiny_weights, device="cpu")


@pytest.fixture(scope="module")
def output(pipeline: TalkheadPipeline) -> TalkheadPipelineOutput:
    return pipeline(FACE, VOICE)
