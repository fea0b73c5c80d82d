from dataclasses import replace
from pathlib import Path

import numpy as np

from talkhead.data.clips import ClipInfo, write_clip
from talkhead.geometry.mesh import mouth_opening
from talkhead.landmarks2video.mouth_patch import PATCH_HEIGHT_PX, PATCH_WIDTH_PX
from talkhead.training.mouth_pairs import Pairs, make_pairs, read_pairs
from tests.prepared import describe_clip, make_clip
from tests.tiny import tiny_mouth_denoiser, tiny_pipeline


def pairs_of(folder: Path, rows: list[ClipInfo], weights: str, per_clip: int = 3) -> Pairs:
    made = make_pairs(folder, rows, Path(weights), per_clip, 0, folder / "pairs", workers=1)
    assert list(made) == [1]
    return read_pairs(folder / "pairs")


def write_talk(folder: Path) -> ClipInfo:
    """Write a talking clip."""
    clip = make_clip(30, seed=1)
    info = describe_clip("talk", clip)
    write_clip(folder, info, clip)
    return info


def test_a_picture_makes_a_pair_with_itself(tmp_path: Path, mouth_pairs: dict[str, str]) -> None:
    talking = make_clip(30, seed=0)
    widest = int(mouth_opening(talking.landmarks).argmax())
    start, end = talking.jpeg_offsets[widest : widest + 2]
    still = replace(
        talking,
        landmarks=talking.landmarks[widest : widest + 1],
        crops=talking.crops[:1],
        jpeg=talking.jpeg[start:end],
        jpeg_offsets=np.array([0, end - start], np.int64),
    )
    info = describe_clip("smile", still)
    assert info.is_still
    write_clip(tmp_path, info, still)
    pairs = pairs_of(tmp_path, [info], mouth_pairs["weights"])
    (one,) = pairs.infos
    assert (one.source, one.target, one.reference) == (-1, 0, -1)
    assert one.opening > 0.03
    assert pairs.reals.shape == (1, PATCH_HEIGHT_PX, PATCH_WIDTH_PX, 3)
    # The opened mouth is dark; drawn from closed lips, its inside cannot be the picture's own.
    x, y = pairs.outlines[0, :20].mean(0).round().astype(int)
    around = np.s_[0, y - 3 : y + 4, x - 6 : x + 7]
    real, draft, closed = (
        images[around].mean() for images in (pairs.reals, pairs.drafts, pairs.references)
    )
    assert real < closed
    assert abs(float(draft) - float(real)) > 3


def test_pairs_of_a_clip_are_of_opened_mouths_and_made_once(
    tmp_path: Path, mouth_pairs: dict[str, str]
) -> None:
    info = write_talk(tmp_path)
    pairs = pairs_of(tmp_path, [info], mouth_pairs["weights"])
    assert len(pairs.infos) == 3
    assert all(one.opening > 0.015 and one.person == info.person for one in pairs.infos)
    assert all(abs(one.reference - one.target) > 1 for one in pairs.infos)
    again = make_pairs(
        tmp_path, [info], Path(mouth_pairs["weights"]), 3, 0, tmp_path / "pairs", workers=1
    )
    assert list(again) == []


def test_drafts_are_drawn_without_a_mouth_denoiser(
    tmp_path: Path, mouth_pairs: dict[str, str]
) -> None:
    info = write_talk(tmp_path)
    plain = pairs_of(tmp_path, [info], mouth_pairs["weights"])
    painted = tiny_pipeline()
    painted.register_modules(mouth_denoiser=tiny_mouth_denoiser())
    painted.save_pretrained(tmp_path / "weights")
    (tmp_path / "pairs").rename(tmp_path / "plain")
    drafts = pairs_of(tmp_path, [info], str(tmp_path / "weights")).drafts
    np.testing.assert_array_equal(drafts, plain.drafts)
