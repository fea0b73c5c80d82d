"""Evaluation: score predictions against real clips."""
