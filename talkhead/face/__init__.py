"""Old home of `talkhead.geometry.mesh`; it goes in version 0.4."""
