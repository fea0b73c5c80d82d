"""The folder of a report: what it may take, and what it keeps."""

from pathlib import Path

import pytest

from talkhead.errors import TalkheadError
from talkhead.evaluation.plan import (
    RUN,
    SCORES,
    begin_preparation,
    check_report,
    digests_of,
    folder_name,
)


def test_scores_of_somebody_else_are_kept(tmp_path: Path) -> None:
    check_report(tmp_path / "new", overwrite=False)
    check_report(tmp_path, overwrite=False)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(TalkheadError, match="is not a folder"):
        check_report(file, overwrite=True)
    (tmp_path / SCORES).write_text("mine")
    (tmp_path / RUN).write_text("mine too")
    with pytest.raises(TalkheadError, match="exists: allow overwriting"):
        check_report(tmp_path, overwrite=False)
    check_report(tmp_path, overwrite=True)


def test_a_report_with_broken_clips_is_not_finished(tmp_path: Path) -> None:
    (tmp_path / RUN).write_text("{}")
    (tmp_path / SCORES).write_text('{"broken": [{"clip": "anna"}]}')
    check_report(tmp_path, overwrite=False)
    (tmp_path / SCORES).write_text('{"broken": []}')
    with pytest.raises(TalkheadError, match="exists"):
        check_report(tmp_path, overwrite=False)


@pytest.mark.parametrize(
    ("system", "folder"),
    [
        ("default", "default"),
        ("default, 2 steps", "default_2_steps"),
        ("../weights/mine", "weights_mine"),
        ("v1.2-a", "v1.2-a"),
        ("..", "_"),
        ("Grüße", "Grüße"),
    ],
)
def test_systems_have_folders_that_stay_inside_the_report(system: str, folder: str) -> None:
    assert folder_name(system) == folder


def test_every_model_of_a_folder_has_its_digest(tiny_weights: Path) -> None:
    digests = digests_of(tiny_weights)
    assert list(digests) == ["landmark_generator", "autoencoder", "denoiser"]
    assert all(len(digest) == 64 for digest in digests.values())
    assert list(digests_of(tiny_weights / "landmark_generator")) == ["."]


def test_prepared_clips_belong_to_their_source(tmp_path: Path) -> None:
    report = tmp_path / "report"
    begin_preparation(report, "one", overwrite=False)
    (report / "prepared/clip").write_text("of one")
    begin_preparation(report, "one", overwrite=False)
    with pytest.raises(
        TalkheadError, match=r"holds clips from another source: .* allow overwriting"
    ):
        begin_preparation(report, "two", overwrite=False)
    assert (report / "prepared/clip").exists()
    begin_preparation(report, "two", overwrite=True)
    assert list((report / "prepared").iterdir()) == []
    # A folder of somebody else's is never removed.
    (tmp_path / "mine/prepared").mkdir(parents=True)
    with pytest.raises(TalkheadError, match=r"choose another folder$"):
        begin_preparation(tmp_path / "mine", "one", overwrite=True)
    assert (tmp_path / "mine/prepared").is_dir()
