"""Old name of `talkhead.geometry.mesh`; it goes in version 0.4."""

import warnings

from talkhead.geometry.mesh import *  # noqa: F403

warnings.warn(
    "talkhead.face.mesh will be removed in version 0.4: use talkhead.geometry.mesh",
    DeprecationWarning,
    stacklevel=2,
)
