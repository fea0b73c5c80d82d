"""The second system: class-conditioned diffusion over mask-noised frames.

This file does not postpone the evaluation of annotations: diffusers reads those of ``__init__``.
"""

from diffusers import SchedulerMixin

from talkhead.audio2landmarks.emotion_classifier import EmotionClassifier
from talkhead.audio2landmarks.expressions import Expressions
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.landmarks2video.batching import BatchLimit
from talkhead.landmarks2video.mask_noise.renderer import MaskNoiseRenderer
from talkhead.landmarks2video.mask_noise.video_denoiser import VideoDenoiser
from talkhead.networks import to_channels_last
from talkhead.pipelines.base import FacePipeline
from talkhead.weights.systems import MASK_NOISE


class MaskNoisePipeline(FacePipeline):
    """Renders frames from a picture, a voice and an emotion.

    Args:
        landmark_generator: predicts landmarks from the voice.
        video_denoiser: generates windows of frames.
        emotion_classifier: classifies the emotion of the voice.
        expressions: what each emotion adds to a face.
        scheduler: any scheduler of diffusers that takes its betas from a list.
        dual_domain_alone: whether the motion comes from the landmark generator's dual-domain part
            alone, as in the paper, without the LSTM beside it.

    Raises:
        WeightsError: there is no such part.
    """

    system = MASK_NOISE
    model_cpu_offload_seq = "emotion_classifier->landmark_generator->video_denoiser"

    def __init__(
        self,
        landmark_generator: LandmarkGenerator,
        video_denoiser: VideoDenoiser,
        emotion_classifier: EmotionClassifier,
        expressions: Expressions,
        scheduler: SchedulerMixin,
        dual_domain_alone: bool = False,
    ) -> None:
        super().__init__()
        self.register_to_config(dual_domain_alone=dual_domain_alone)
        if dual_domain_alone:
            landmark_generator = landmark_generator.dual_domain_alone()
        self.register_modules(
            landmark_generator=landmark_generator,
            video_denoiser=video_denoiser,
            emotion_classifier=emotion_classifier,
            expressions=expressions,
            scheduler=scheduler,
        )
        self._keep_float32()
        self._settle()

    def renderer(self) -> MaskNoiseRenderer:
        """Return the second stage, with the present components."""
        return MaskNoiseRenderer(
            self.video_denoiser, self.scheduler, self._execution_device, self.dtype, self._limit
        )

    def _settle(self) -> None:
        self._limit = BatchLimit(self.video_denoiser.config.num_frames)
        to_channels_last(self.video_denoiser)
