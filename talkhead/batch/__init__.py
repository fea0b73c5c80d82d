"""Batch rendering: list the videos, check them, render them in workers, and resume later."""
