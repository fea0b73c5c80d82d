from pathlib import Path

import numpy as np
import pytest

from talkhead.data.clips import ClipInfo, write_clip, write_manifest
from talkhead.data.one_person import PersonVideo, read_videos
from tests.prepared import describe_clip, make_clip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ClipInfo]]:
    """Two videos: `one` of clips with 60 and 65 frames, and `two` with 40."""
    folder = tmp_path_factory.mktemp("prepared")
    starts = {"one": 0.0, "one.1": 3.0, "two": 0.0}
    for seed, (name, count) in enumerate((("one", 60), ("one.1", 65), ("two", 40))):
        clip = make_clip(count, seed)
        row = describe_clip(name, clip, person="person")
        write_clip(folder, ClipInfo(**row.__dict__ | {"start_s": starts[name]}), clip)
    return folder, write_manifest(folder)


def lengths(video: PersonVideo) -> tuple[list[int], list[int]]:
    return [len(part) for part in video.train], [len(part) for part in video.held_out]


def test_the_last_tenth_of_each_video_is_held_out_after_a_gap(
    prepared: tuple[Path, list[ClipInfo]],
) -> None:
    one, two = read_videos(*prepared)
    assert (one.name, two.name) == ("one", "two")
    # A tenth of 125 frames is 12; the gap of 0.4 s is 10 frames.
    assert lengths(one) == ([60, 65 - 12 - 10], [12])
    assert lengths(two) == ([40 - 4 - 10], [4])


def test_parts_have_the_frames_and_the_sound_of_their_time(
    prepared: tuple[Path, list[ClipInfo]],
) -> None:
    one, _ = read_videos(*prepared)
    whole, (held_out,) = make_clip(65, 1), one.held_out
    np.testing.assert_array_equal(held_out.clip.landmarks, whole.landmarks[53:])
    np.testing.assert_array_equal(held_out.clip.frame(0), whole.frame(53))
    np.testing.assert_array_equal(held_out.clip.frame(11), whole.frame(64))
    np.testing.assert_array_equal(held_out.clip.waveform, whole.waveform[53 * 640 :])
    train = one.train[1].clip
    np.testing.assert_array_equal(train.landmarks, whole.landmarks[:43])
    np.testing.assert_array_equal(train.waveform, whole.waveform[: 43 * 640])
