"""Stage two: frames from landmarks and a picture, or a video to dub."""
