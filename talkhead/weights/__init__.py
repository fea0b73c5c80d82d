"""From a name in weights.toml to a folder on this machine whose files match their digests.

weights.toml is the one list of published weights. Every entry says what it is, which files it has
(size and sha256), under which licence, where it comes from, and where it is:

- ``package``: shipped with talkhead, in `CHECKPOINTS` under the entry's name;
- ``hub``: a repository at a fixed revision, fetched into the cache of huggingface-hub;
- ``url``: one file, fetched into the cache of talkhead.

A pipeline is an entry without files that names its components.
"""

from talkhead.weights.fetch import cache_folder, is_offline
from talkhead.weights.folders import (
    DEFAULT,
    PIPELINE_PARTS,
    WeightsList,
    installed_list,
    list_entries,
    resolve_weights,
    verify,
)
from talkhead.weights.listing import WeightsEntry, WeightsFile, format_list, read_list

__all__ = [
    "DEFAULT",
    "PIPELINE_PARTS",
    "WeightsEntry",
    "WeightsFile",
    "WeightsList",
    "cache_folder",
    "format_list",
    "installed_list",
    "is_offline",
    "list_entries",
    "read_list",
    "resolve_weights",
    "verify",
]
