"""Resolve a name in weights.toml to a local folder whose files match their digests.

weights.toml lists all published weights. Every entry gives a description, the files (size and
sha256), the licence, the origin, and the location:

- ``package``: shipped with talkhead, in `CHECKPOINTS`, inside the folder of a pipeline: what
  several pipelines share is in the default's;
- ``hub``: a repository at a fixed commit, downloaded to the huggingface-hub cache;
- ``url``: one file, downloaded to talkhead's cache.

A shipped pipeline lists its components. Users' own pipelines are not listed: they are folders, or
repositories on the hub, with one sub-folder per component.
"""

from talkhead.weights.fetch import cache_folder, is_offline
from talkhead.weights.folders import (
    DEFAULT,
    ResolvedWeights,
    WeightsList,
    installed_list,
    list_entries,
    locate_weights,
    resolve_network,
    resolve_weights,
    verify,
)
from talkhead.weights.listing import (
    WeightsEntry,
    WeightsFile,
    format_list,
    read_list,
)
from talkhead.weights.publish import plan_publication, publish

__all__ = [
    "DEFAULT",
    "ResolvedWeights",
    "WeightsEntry",
    "WeightsFile",
    "WeightsList",
    "cache_folder",
    "format_list",
    "installed_list",
    "is_offline",
    "list_entries",
    "locate_weights",
    "plan_publication",
    "publish",
    "read_list",
    "resolve_network",
    "resolve_weights",
    "verify",
]
