from itertools import chain

import numpy as np

from talkhead.data.one_person import PersonClip, PersonVideo
from talkhead.evaluation.frames import in_batches
from talkhead.evaluation.person_scores import identity_of
from talkhead.evaluation.systems import identity_frame
from tests.prepared import describe_clip, make_clip


def test_frames_are_batched_anew_in_order() -> None:
    frames = np.arange(21, dtype=np.uint8)[:, None, None, None] * np.ones((4, 4, 3), np.uint8)
    windows = iter([frames[:8], frames[8:16], frames[16:]])
    batches = list(in_batches(chain.from_iterable(windows), 10))
    assert [len(batch) for batch in batches] == [10, 10, 1]
    np.testing.assert_array_equal(np.concatenate(batches), frames)


def test_the_picture_is_the_training_frame_nearest_to_rest() -> None:
    clips = [make_clip(40, 0), make_clip(30, 1)]
    parts = tuple(PersonClip(describe_clip(f"c{k}", clip), clip) for k, clip in enumerate(clips))
    nearest = identity_frame(np.concatenate([clip.landmarks for clip in clips]))
    number, frame = (0, nearest) if nearest < 40 else (1, nearest - 40)
    picture, mesh = identity_of(PersonVideo("v", parts, ()))
    np.testing.assert_array_equal(mesh, clips[number].landmarks[frame])
    np.testing.assert_array_equal(picture, clips[number].frame(frame))
    swapped, _ = identity_of(PersonVideo("v", parts[::-1], ()))
    np.testing.assert_array_equal(swapped, picture)
