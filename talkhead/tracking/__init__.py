"""Faces in pictures and videos: detection, tracking, and the landmark track."""
