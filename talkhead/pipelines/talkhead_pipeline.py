"""The default system: warped pictures, corrected by latent diffusion.

This file does not postpone the evaluation of annotations: diffusers reads those of ``__init__``.
"""

from typing import ClassVar

from diffusers import SchedulerMixin

from talkhead.audio2landmarks.emotion_classifier import EmotionClassifier
from talkhead.audio2landmarks.expressions import Expressions
from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.landmarks2video.autoencoder import Autoencoder
from talkhead.landmarks2video.batching import BatchLimit, batch_frames
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.landmarks2video.mouth_denoiser import MouthDenoiser
from talkhead.landmarks2video.mouth_painter import MouthPainter
from talkhead.landmarks2video.renderer import LatentRenderer
from talkhead.networks import to_channels_last
from talkhead.pipelines.base import FacePipeline
from talkhead.weights.systems import TALKHEAD


class TalkheadPipeline(FacePipeline):
    """Renders frames from a picture, or into a video, and a voice.

    Args:
        landmark_generator: predicts landmarks from the voice.
        autoencoder: encodes and decodes latents of the lower face.
        denoiser: corrects the warped picture.
        scheduler: any scheduler of diffusers that takes its betas from a list.
        mouth_denoiser: diffuses the insides of opened mouths; without it, they are as blurred as
            the denoiser leaves them.
        emotion_classifier: classifies the emotion of the voice; needed for emotions only.
        expressions: what each emotion adds to a face; needed for emotions only.
    """

    system = TALKHEAD
    model_cpu_offload_seq = (
        "emotion_classifier->landmark_generator->autoencoder->denoiser->mouth_denoiser"
    )
    _optional_components: ClassVar[list[str]] = list(TALKHEAD.optional)

    def __init__(
        self,
        landmark_generator: LandmarkGenerator,
        autoencoder: Autoencoder,
        denoiser: Denoiser,
        scheduler: SchedulerMixin,
        mouth_denoiser: MouthDenoiser | None = None,
        emotion_classifier: EmotionClassifier | None = None,
        expressions: Expressions | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            landmark_generator=landmark_generator,
            autoencoder=autoencoder,
            denoiser=denoiser,
            scheduler=scheduler,
            mouth_denoiser=mouth_denoiser,
            emotion_classifier=emotion_classifier,
            expressions=expressions,
        )
        self._keep_float32()
        self._settle()

    def renderer(self) -> LatentRenderer:
        """Return the second stage, with the present components."""
        return LatentRenderer(
            self.autoencoder,
            self.denoiser,
            self.scheduler,
            self._execution_device,
            self.dtype,
            self._limit,
            self._painter(),
        )

    def _painter(self) -> MouthPainter | None:
        if self.mouth_denoiser is None:
            return None
        return MouthPainter(self.mouth_denoiser, self.scheduler, self._execution_device, self.dtype)

    def _settle(self) -> None:
        self._limit = BatchLimit(batch_frames(self.device))
        for network in (self.autoencoder, self.denoiser, self.mouth_denoiser):
            if network is not None:
                to_channels_last(network)
