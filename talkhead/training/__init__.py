"""Videos to weights: preparing clips, one training loop, and one file per task."""
