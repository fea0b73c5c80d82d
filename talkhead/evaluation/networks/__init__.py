"""Networks for measuring pictures, videos and speech, loaded from published files.

Every family of measures needs one network:

========  ==================  ===========================================
family    network             measures
========  ==================  ===========================================
lpips     AlexNet and heads   LPIPS, tLP
fid       Inception, pool3    FID
fvd       I3D, Kinetics-400   FVD
sync      SyncNet v2          LSE-D, LSE-C, offset
========  ==================  ===========================================

Their files are entries of weights.toml. `find_networks` loads those on this machine, and says how
to get the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from talkhead.evaluation.networks.i3d import I3d, load_i3d
from talkhead.evaluation.networks.inception import FidInception, load_inception
from talkhead.evaluation.networks.lpips import Lpips, load_lpips
from talkhead.evaluation.networks.syncnet import SyncNet, load_syncnet
from talkhead.weights import WeightsList, installed_list

__all__ = [
    "FAMILIES",
    "Family",
    "FeatureNetwork",
    "FidInception",
    "I3d",
    "LoadedNetwork",
    "Lpips",
    "SyncNet",
    "find_networks",
    "list_networks",
]

FeatureNetwork = Lpips | FidInception | I3d | SyncNet


@dataclass(frozen=True)
class Family:
    """Measures that share a network.

    Attributes:
        weights: names in weights.toml.
        load: takes the folder of each of them, in this order, and the device as a keyword.
    """

    weights: tuple[str, ...]
    load: Callable[..., FeatureNetwork]


@dataclass(frozen=True)
class LoadedNetwork:
    """A network, and the digests of the files it was loaded from, by weights name."""

    network: FeatureNetwork
    digests: dict[str, str]


FAMILIES = {
    "lpips": Family(("alexnet", "lpips-alex"), load_lpips),
    "fid": Family(("fid-inception",), load_inception),
    "fvd": Family(("i3d-kinetics-400",), load_i3d),
    "sync": Family(("syncnet-v2",), load_syncnet),
}


def list_networks(
    weights: WeightsList | None = None,
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Return which networks are on this machine, without loading them.

    Args:
        weights: the list of their files; the installed one by default.

    Returns:
        For each network present, the digests of its files by weights name; for each missing one, a
            message on how to get it. Both are by family.

    Raises:
        WeightsError: a file is corrupt.
    """
    listed = installed_list() if weights is None else weights
    digests: dict[str, dict[str, str]] = {}
    missing: dict[str, str] = {}
    for name, family in FAMILIES.items():
        absent = [entry for entry in family.weights if not listed.verify(entry)]
        if absent:
            missing[name] = f"not computed: run talkhead weights download {' '.join(absent)}"
        else:
            digests[name] = _digests(listed, family)
    return digests, missing


def find_networks(
    *,
    offline_only: bool = True,
    device: str | torch.device = "cpu",
    weights: WeightsList | None = None,
) -> tuple[dict[str, LoadedNetwork], dict[str, str]]:
    """Load the networks whose files are on this machine.

    Args:
        offline_only: never use the network; otherwise missing files are downloaded.
        device: where the networks compute.
        weights: the list of their files; the installed one by default.

    Returns:
        The loaded networks, and for each missing one a message on how to get it; both by family.

    Raises:
        WeightsError: a file is corrupt, does not fit or cannot be downloaded.
    """
    listed = installed_list() if weights is None else weights
    missing = list_networks(listed)[1] if offline_only else {}
    loaded: dict[str, LoadedNetwork] = {}
    for name, family in FAMILIES.items():
        if name not in missing:
            folders = [listed.resolve(entry, offline=offline_only) for entry in family.weights]
            network = family.load(*folders, device=device)
            loaded[name] = LoadedNetwork(network, _digests(listed, family))
    return loaded, missing


def _digests(listed: WeightsList, family: Family) -> dict[str, str]:
    return {entry: file.sha256 for entry in family.weights for file in listed.entry(entry).files}
