import sys
from pathlib import Path

import pytest

from tests.reliability.fuzz import KINDS, fuzz
from tests.reliability.structure import as_json, as_toml, edited, edits_of
from tests.reliability.table import Row, as_markdown, read_rows, write_rows

MINUTES = 0.6
SEED = 7
SLOW = "video, extreme"
"""It takes seconds for each, for encoding alone."""


@pytest.mark.usefixtures("detector_is_here")
@pytest.mark.skipif(sys.platform == "win32", reason="the worker catches output by descriptors")
def test_hostile_input_never_does_harm() -> None:
    kinds = [kind for kind in KINDS if kind != SLOW]
    rows = fuzz(kinds, seed=SEED, minutes=MINUTES)
    assert [finding for row in rows for finding in row.findings] == []
    assert all(row.tried for row in rows)


def test_cases_are_the_same_for_the_same_seed() -> None:
    assert edits_of(1, 25) == edits_of(1, 25)
    assert [edits_of(1, k) for k in range(30)] != [edits_of(2, k) for k in range(30)]


def test_an_edited_document_stays_json_and_toml_while_its_values_become_hostile() -> None:
    document = {"a": {"b": 1, "c": [1, 2]}, "d": "x"}
    assert edited(document, [("replace", 0, 5)]) == 5
    assert edited(document, [("replace", 1, None)]) == {"a": None, "d": "x"}
    assert edited(document, [("remove", 2, None)]) == {"a": {"b": 1, "c": [1, 2]}}
    twice = edited(document, [("twice", 3, "y")])
    assert as_json(twice) == '{"a": {"b": 1, "b": "y", "c": [1, 2]}, "d": "x"}'
    assert as_toml(twice) == 'd = "x"\n\n[a]\nb = 1\nb = "y"\nc = [1, 2]\n'
    assert as_json({"a": float("nan"), "b": 10**400}) == f'{{"a": NaN, "b": {10**400}}}'
    assert as_toml({"a": float("-inf")}) == "a = -inf\n"
    assert document == {"a": {"b": 1, "c": [1, 2]}, "d": "x"}


def test_reports_are_merged_into_one_table(tmp_path: Path) -> None:
    first, second = Row("sound"), Row("sound")
    first.add("exit 2", 1.25, 100, [])
    first.add("exit 0", 0.5, 700.04, ["#1 what: why"])
    second.add("exit 2", 3, 5, [])
    for name, row in (("a.json", first), ("b.json", second)):
        write_rows(tmp_path / name, [row, Row("picture")])
    rows = [row for name in ("a.json", "b.json") for row in read_rows(tmp_path / name)]
    lines = as_markdown(rows).splitlines()
    assert lines[2] == "| sound | 3 | exit 0: 1, exit 2: 2 | 700 MB | 3.0 s | 1 |"
    assert lines[3] == "| picture | 0 |  | 0 MB | 0.0 s | 0 |"
    assert len(lines) == 4
