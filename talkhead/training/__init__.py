"""Model training: one training loop and one file per task."""
