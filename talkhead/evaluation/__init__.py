"""Scores: what was predicted against what is real."""
