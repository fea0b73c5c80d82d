"""Resolve a name in weights.toml to a local folder whose files match their digests.

weights.toml lists all published weights. Every entry gives a description, the files (size and
sha256), the licence, the origin, and the location:

- ``package``: shipped with talkhead, in `CHECKPOINTS` under the entry's name; or, if only a
  pipeline other than the default uses it, in a folder named after that pipeline;
- ``hub``: a repository at a fixed revision, downloaded to the huggingface-hub cache;
- ``url``: one file or a folder of files, downloaded to talkhead's cache;
- ``folder``: a local folder that the user added.

A shipped pipeline lists its components; any other keeps its files in one folder per component.
"""

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
    WeightsEntry,
    WeightsFile,
    format_list,
    read_list,
)
from talkhead.weights.publish import plan_upload, upload

__all__ = [
    "DEFAULT",
    "WeightsEntry",
    "WeightsFile",
    "WeightsList",
    "cache_folder",
    "format_list",
    "installed_list",
    "is_offline",
    "list_entries",
    "plan_upload",
    "read_list",
    "resolve_weights",
    "upload",
    "verify",
]
