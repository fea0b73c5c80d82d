"""Clips: data-set layouts, preparation, audio-video sync, synthetic speech. Needs no extra."""
