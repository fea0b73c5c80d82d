"""Rendering jobs: files in, one video out. Importing this package loads nothing heavy."""
