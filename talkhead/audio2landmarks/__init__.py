"""Stage one: landmarks of a face from a voice.

::

    AudioClip ─ audio2motion ─ coefficients (T, 16) ─ animation ─ meshes (T, 478, 3) ─ expressions
                LandmarkGenerator                     idle_motion

Meshes come in windows, so that memory does not grow with the length of the sound.
"""
