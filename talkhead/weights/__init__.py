"""From a name in weights.toml to a folder on this machine whose files match their digests.

weights.toml is the one list of published weights. Every entry says what it is, which files it has
(size and sha256), under which licence, where it comes from, and where it is:

- ``package``: shipped with talkhead, in `CHECKPOINTS` under the entry's name, or, where it belongs
  to another pipeline than the default's alone, in a folder of that pipeline's name;
- ``hub``: a repository at a fixed revision, fetched into the cache of huggingface-hub;
- ``url``: one file, or a folder of them, fetched into the cache of talkhead;
- ``folder``: on this machine, added by its user.

A pipeline that is shipped names its components; any other has its files in a folder for each.
"""

from talkhead.weights.added import add_weights, remove_weights
from talkhead.weights.fetch import cache_folder, is_offline
from talkhead.weights.folders import (
    DEFAULT,
    WeightsList,
    installed_list,
    list_entries,
    resolve_weights,
    verify,
)
from talkhead.weights.listing import (
    PIPELINE_PARTS,
    WeightsEntry,
    WeightsFile,
    format_list,
    is_mask_noise,
    parts_of,
    read_list,
)
from talkhead.weights.publish import plan_upload, upload

__all__ = [
    "DEFAULT",
    "PIPELINE_PARTS",
    "WeightsEntry",
    "WeightsFile",
    "WeightsList",
    "add_weights",
    "cache_folder",
    "format_list",
    "installed_list",
    "is_mask_noise",
    "is_offline",
    "list_entries",
    "parts_of",
    "plan_upload",
    "read_list",
    "remove_weights",
    "resolve_weights",
    "upload",
    "verify",
]
