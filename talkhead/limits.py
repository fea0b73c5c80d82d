"""The limits of inputs, options and outputs, each stated once. Sides are in pixels."""

MIN_SIDE_PX = 64
"""Of a picture, and of a size that pictures are scaled down to."""
MAX_PICTURE_SIDE_PX = 20_000
MAX_PICTURE_PIXELS = 250_000_000
"""Cameras reach 150 million. Pillow uses 4 bytes per pixel, and some decoders as many again; a file
of kilobytes can unpack to the full limit."""
MAX_CODED_PICTURE_PIXELS = 100_000_000
"""The limit for formats whose decoders hold several copies: up to 20 bytes per pixel."""

MAX_VIDEO_SIDE_PX = 16_384
"""The largest that H.264 encoders accept, for videos in and out."""
MAX_VIDEO_PIXELS = 8192 * 4320
"""8K, the largest frame in level 6.2 of H.264. A decoder holds dozens of frames at a time, and a
file of kilobytes can hold frames of a gigabyte."""
MAX_VIDEO_ASPECT = 16
"""No screen is longer. Face detection searches squares side by side."""
MAX_SCALED_SIDE_PX = 8192
"""The largest size that pictures can be asked to be scaled down to."""
MAX_CRF = 51
"""The worst quality of H.264."""

MAX_STEPS = 50
"""Sampling steps."""
MAX_START_STEP = 1000
MAX_STRENGTH = 3
"""Scale of a motion."""
MAX_BLINKS = 60
"""Per minute."""
MAX_BACKGROUND_DB = 60.0
"""By how much an old sound can be lowered; nothing is heard below."""
MAX_SPEAKERS = 16
"""People who speak in one picture or video; each takes a face detector of its own in a video."""
