import json
from collections.abc import Iterator

import pytest

from talkhead.cli.output import in_megabytes, print_columns, print_json, with_progress


def test_json_keeps_letters_and_refuses_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "José", "values": [1, 2.5, None]})
    shown = capsys.readouterr().out
    assert "José" in shown
    assert json.loads(shown) == {"name": "José", "values": [1, 2.5, None]}
    with pytest.raises(ValueError, match="Out of range float"):
        print_json({"psnr": float("nan")})


def test_columns_are_aligned_and_rows_end_without_blanks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_columns([("a", "bbb", "c"), ("aaa", "b", "")])
    assert capsys.readouterr().out == "a    bbb  c\naaa  b\n"
    print_columns([])
    assert capsys.readouterr().out == ""


def test_progress_passes_items_on_and_never_writes_to_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(with_progress(iter(range(3)), label="frames")) == [0, 1, 2]
    assert list(with_progress([1, 2], label="frames", total=2, quiet=True)) == [1, 2]
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_progress_that_is_left_early_closes_what_it_shows() -> None:
    ended = []

    def count() -> Iterator[int]:
        try:
            yield from range(3)
        finally:
            ended.append(True)

    numbers = count()
    shown = with_progress(numbers, label="frames")
    assert next(shown) == 0
    shown.close()
    assert ended == [True]


def test_sizes_are_in_units_of_a_million_bytes() -> None:
    assert in_megabytes(3_758_596) == "3.8 MB"
