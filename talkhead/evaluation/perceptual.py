"""Scores from networks: LPIPS, tLP, SyncNet's scores, and features for FID and FVD.

SyncNet gets the same crops as all other scores, not those of its authors' detector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import numpy as np
import numpy.typing as npt

from talkhead.evaluation.feature_metrics import (
    FeatureStatistics,
    frechet_distance,
    sync_scores,
    tlp,
)
from talkhead.evaluation.networks import FeatureNetwork, FidInception, I3d, Lpips, SyncNet
from talkhead.evaluation.networks.i3d import WINDOW_FRAMES
from talkhead.evaluation.networks.syncnet import FPS, pair_windows
from talkhead.evaluation.networks.syncnet import WINDOW_FRAMES as SYNC_FRAMES
from talkhead.evaluation.scores import REAL, ClipScores

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

FAMILY_MEASURES = {
    "lpips": ("lpips", "tlp"),
    "fid": ("fid", "mouth_kid"),
    "fvd": ("fvd",),
    "sync": ("lse_d", "lse_c", "sync_offset"),
}
"""The measures that each family of networks provides."""
SETS = ("fid", "fvd")
"""Families whose measure is computed on whole sets of clips."""
REAL_FEATURES = "real "
"""Prefix of a family's name for features of the real frames."""
MIN_FEATURES = {"fid": (2048, "frames"), "fvd": (256, "windows of 16 frames")}
"""With fewer, the measure depends more on their number than on their content."""
TLP_SCALE = 100


class NetworkScorer:
    """Scores one video of a clip, batch by batch.

    Args:
        networks: by family.
        waveform: the clip's audio, (N,), 16 kHz; may be empty.
        fps: frames per second; SyncNet only supports 25.
        with_real: keep the features of the real frames as well.
    """

    def __init__(
        self,
        networks: Mapping[str, FeatureNetwork],
        waveform: Floats,
        rate_hz: float,
        *,
        with_real: bool = False,
    ) -> None:
        self._networks, self._waveform = networks, waveform
        self._with_real = with_real
        self._scores_sync = "sync" in networks and len(waveform) > 0 and rate_hz == FPS
        self._lpips: list[Floats] = []
        self._frame_changes: tuple[list[Floats], list[Floats]] = [], []
        self._features: dict[str, list[Floats]] = {}
        self._previous: tuple[Pixels, Pixels] | None = None
        self._video_embeddings: list[Floats] = []
        self._recent = np.zeros((0, 0, 0, 3), np.uint8)

    def add(self, generated: Pixels, real: Pixels) -> None:
        """Score a batch of frames, (T, 256, 256, 3) each."""
        if "lpips" in self._networks:
            self._add_lpips(cast("Lpips", self._networks["lpips"]), generated, real)
        self._add_features("", generated)
        if self._with_real:
            self._add_features(REAL_FEATURES, real)
        if self._scores_sync:
            frames = np.concatenate([self._recent, generated]) if len(self._recent) else generated
            network = cast("SyncNet", self._networks["sync"])
            self._video_embeddings.append(network.video_embeddings(frames))
            self._recent = frames[-(SYNC_FRAMES - 1) :]

    def _add_lpips(self, network: Lpips, generated: Pixels, real: Pixels) -> None:
        self._lpips.append(network.distances(generated, real))
        if self._previous is not None:
            generated, real = (
                np.concatenate([self._previous[0], generated]),
                np.concatenate([self._previous[1], real]),
            )
        if len(generated) > 1:
            for changes, frames in zip(self._frame_changes, (generated, real), strict=True):
                changes.append(network.distances(frames[:-1], frames[1:]))
        self._previous = generated[-1:], real[-1:]

    def _add_features(self, prefix: str, frames: Pixels) -> None:
        if "fid" in self._networks:
            inception = cast("FidInception", self._networks["fid"])
            self._keep(f"{prefix}fid", inception.features(frames))
        if "fvd" in self._networks and len(frames) == WINDOW_FRAMES:
            i3d = cast("I3d", self._networks["fvd"])
            self._keep(f"{prefix}fvd", i3d.features(frames))

    def _keep(self, name: str, features: Floats) -> None:
        self._features.setdefault(name, []).append(features)

    def finish(self) -> tuple[dict[str, float], dict[str, Floats]]:
        """Return the clip's scores, and the features by family."""
        values: dict[str, float] = {}
        if self._lpips:
            values["lpips"] = float(np.concatenate(self._lpips).mean())
        if self._frame_changes[0]:
            generated, real = (np.concatenate(changes) for changes in self._frame_changes)
            values["tlp"] = TLP_SCALE * tlp(generated, real)
        if self._scores_sync:
            network = cast("SyncNet", self._networks["sync"])
            audio = network.audio_embeddings(self._waveform)
            video, audio = pair_windows(np.concatenate(self._video_embeddings), audio)
            if len(video):
                lse_d, lse_c, offset = sync_scores(video, audio)
                values |= {"lse_d": lse_d, "lse_c": lse_c, "sync_offset": float(offset)}
        return values, {name: np.concatenate(parts) for name, parts in self._features.items()}


def set_values(scores: Iterable[ClipScores]) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    """Return the measures of a whole set of clips.

    Args:
        scores: scores of all systems on the same clips; those of the real video include the
            features of the real frames.

    Returns:
        The values by system and measure, and the smallest number of features by measure.
    """
    statistics: dict[tuple[str, str], FeatureStatistics] = {}
    for one in scores:
        for name, features in one.arrays.items():
            if name.removeprefix(REAL_FEATURES) not in SETS:
                continue
            if name.startswith(REAL_FEATURES) and one.system != REAL:
                continue
            part, key = FeatureStatistics.of(features), (one.system, name)
            statistics[key] = statistics[key].merge(part) if key in statistics else part
    values: dict[str, dict[str, float]] = {}
    fewest: dict[str, int] = {}
    for (system, name), generated in statistics.items():
        real = statistics.get((REAL, f"{REAL_FEATURES}{name}"))
        if real is not None and min(generated.count, real.count) > 1:
            values.setdefault(system, {})[name] = frechet_distance(generated, real)
            fewest[name] = min(fewest.get(name, generated.count), generated.count)
    return values, fewest
