"""Stage two: frames from landmarks and a picture, or a video to dub.

::

    meshes (T, 478, 3) ─ conditioning ─ warp and maps ─ renderer ─ FrameLayers ─ composite ─ frames
    picture ─ composite.Canvas ─────────┘               sampling

`renderer.render_frames` renders a picture, `dubbing.dub_frames` a video. `mask_noise` has the
second system's renderer.
"""
