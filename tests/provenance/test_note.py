import hashlib
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import talkhead
from talkhead.errors import TalkheadError, WeightsError
from talkhead.media import ffmpeg
from talkhead.media.metadata import read_notes
from talkhead.media.video import VideoWriter
from talkhead.provenance import Note, find_note, provenance_note, sha256_of, weights_digests
from talkhead.provenance.note import MAX_NOTE_CHARACTERS, UNLISTED
from talkhead.weights import installed_list, resolve_weights
from talkhead.weights.systems import TENSORS_NAME

DIGESTS = {part: f"{k:064x}" for k, part in enumerate(("b", "a"))}
COPIES = {"copy.mp4": ["-c", "copy"], "copy.mkv": ["-c", "copy"], "again.mp4": []}


@pytest.fixture
def made_of(tmp_path: Path) -> tuple[Path, Path]:
    face, sound = tmp_path / "secret face.png", tmp_path / "secret voice.wav"
    face.write_bytes(b"f" * 3_000_001)
    sound.write_bytes(b"s")
    return face, sound


def note_of(face: Path, sound: Path, weights_name: str = "default") -> dict[str, str]:
    return provenance_note(face, sound, weights_name=weights_name, digests=DIGESTS, seed=7)


def write(target: Any, metadata: dict[str, str]) -> None:
    with VideoWriter(
        target, size=(64, 64), fps=Fraction(25), sound=None, metadata=metadata
    ) as video:
        video.write(np.full((3, 64, 64, 3), 90, np.uint8))


def spoilt(note: dict[str, str], **changes: Any) -> dict[str, str]:
    content = json.loads(note["description"]) | changes
    kept = {name: value for name, value in content.items() if value is not ...}
    return {"description": json.dumps(kept)}


def test_a_note_says_what_was_made_of_what(made_of: tuple[Path, Path]) -> None:
    notes = note_of(*made_of)
    note = find_note(notes)
    assert isinstance(note, Note)
    assert (note.generator, note.synthetic) == (f"talkhead {talkhead.__version__}", True)
    assert (note.weights, note.digests, note.seed) == ("default", DIGESTS, 7)
    assert note.face == hashlib.sha256(b"f" * 3_000_001).hexdigest()
    assert note.sound == hashlib.sha256(b"s").hexdigest()


def test_the_sentence_is_for_people(made_of: tuple[Path, Path]) -> None:
    sentence = note_of(*made_of)["comment"]
    assert sentence.startswith(f"Synthetic: made by talkhead {talkhead.__version__}, weights ")
    assert sentence.endswith(", seed 7")
    others = provenance_note(*made_of, weights_name="default", digests={"x": "0" * 64}, seed=7)
    assert others["comment"] != sentence


def test_no_name_of_a_file_or_folder_gets_into_a_note(
    made_of: tuple[Path, Path], tmp_path: Path
) -> None:
    text = json.dumps(note_of(*made_of, weights_name=str(tmp_path / "weights of Ann")))
    assert UNLISTED in text
    for word in ("secret", "Ann", tmp_path.name):
        assert word not in text


def test_the_same_input_gives_the_same_bytes(made_of: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        write(tmp_path / name, note_of(*made_of))
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    backwards = dict(reversed(DIGESTS.items()))
    notes = provenance_note(*made_of, weights_name="default", digests=backwards, seed=7)
    assert notes == note_of(*made_of)


@pytest.mark.parametrize("copy", COPIES)
def test_a_note_survives_copies_of_a_file(
    copy: str, made_of: tuple[Path, Path], tmp_path: Path
) -> None:
    notes = note_of(*made_of)
    write(tmp_path / "a.mp4", notes)
    assert read_notes(tmp_path / "a.mp4").items() >= notes.items()
    args = ["-i", str(tmp_path / "a.mp4"), *COPIES[copy], str(tmp_path / copy)]
    assert ffmpeg.run_ffmpeg(args)[0] == 0
    assert read_notes(tmp_path / copy).items() >= notes.items()


def test_the_sentence_survives_a_copy_to_mov(made_of: tuple[Path, Path], tmp_path: Path) -> None:
    notes = note_of(*made_of)
    write(tmp_path / "a.mp4", notes)
    args = ["-i", str(tmp_path / "a.mp4"), "-c", "copy", str(tmp_path / "b.mov")]
    assert ffmpeg.run_ffmpeg(args)[0] == 0
    assert read_notes(tmp_path / "b.mov")["comment"] == notes["comment"]


def test_a_stream_of_fragments_carries_the_note(made_of: tuple[Path, Path], tmp_path: Path) -> None:
    notes = note_of(*made_of)
    with (tmp_path / "a.mp4").open("wb") as stream:
        write(stream, notes)
    assert read_notes(tmp_path / "a.mp4").items() >= notes.items()
    args = ["-i", str(tmp_path / "a.mp4"), "-c", "copy", str(tmp_path / "b.mp4")]
    assert ffmpeg.run_ffmpeg(args)[0] == 0
    assert find_note(read_notes(tmp_path / "b.mp4")) == find_note(notes)


def test_digests_are_those_of_the_list_of_weights() -> None:
    entries = installed_list().entries
    listed = {
        part: file.sha256
        for part in entries["default"].components
        for file in entries[part].files
        if file.path == TENSORS_NAME
    }
    _, scheduler = entries["default"].files
    assert weights_digests(resolve_weights("default")) == listed | {"scheduler": scheduler.sha256}
    assert len(listed) == 6


def test_a_file_of_weights_that_changes_is_digested_anew(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "TalkheadPipeline"}')
    for component in ("autoencoder", "denoiser", "landmark_generator"):
        (tmp_path / component).mkdir()
        (tmp_path / component / TENSORS_NAME).write_bytes(b"one")
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_bytes(b"one")
    before = weights_digests(tmp_path)
    assert set(before.values()) == {hashlib.sha256(b"one").hexdigest()}
    (tmp_path / "denoiser" / TENSORS_NAME).write_bytes(b"other")
    changed = {"denoiser": hashlib.sha256(b"other").hexdigest()}
    assert weights_digests(tmp_path) == before | changed


def test_weights_that_are_missing_have_no_digest(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"is not a pipeline: it has no model_index\.json"):
        weights_digests(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "TalkheadPipeline"}')
    with pytest.raises(WeightsError, match=f"landmark_generator/{TENSORS_NAME} is missing"):
        weights_digests(tmp_path)


def test_a_file_that_is_missing_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match="does not exist"):
        sha256_of(tmp_path / "none.png")


def test_a_digest_takes_no_more_memory_for_a_larger_file(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(300_000_000)  # a hole, which takes no room on the disk
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from talkhead.provenance import sha256_of\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "sha256_of(Path(sys.argv[1]))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "large"],
        cwd=Path(talkhead.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(ended.stdout) < 30_000  # KB


@pytest.mark.parametrize(
    "text",
    [
        *("", "a holiday", "[1, 2]", "3", '{"generator": "talkheads 1"}', '{"generator": 1}'),
        *("{", '"generator"', "[" * 9_999, "x" * MAX_NOTE_CHARACTERS * 2),
    ],
)
def test_other_programs_descriptions_are_no_notes(text: str) -> None:
    assert find_note({"description": text, "comment": "Synthetic: made by talkhead"}) is None
    assert find_note({}) is None


@pytest.mark.parametrize(
    "rest",
    [
        "",
        '"',
        '"}',
        '", "seed": ' + "[" * 9_999,
        '", "weights": "' + "x" * MAX_NOTE_CHARACTERS + '"}',
        '", "seed": ' + "9" * 9_999 + "}",
        '", "seed": NaN}',
    ],
)
def test_a_damaged_note_is_told_from_none(rest: str) -> None:
    with pytest.raises(TalkheadError, match=r"^the note is damaged: "):
        find_note({"description": '{"generator": "talkhead 1' + rest})


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": True},
        {"seed": "7"},
        {"seed": 1e99},
        {"seed": ...},
        {"generator": "talkhead " + "9" * 1000},
        {"synthetic": "yes"},
        {"face": "0" * 63},
        {"face": "\x1b" * 64},
        {"sound": None},
        {"weights": ["default"]},
        {"digests": {"a": "b"}},
        {"digests": {str(k): "0" * 64 for k in range(99)}},
    ],
)
def test_a_note_with_other_values_is_damaged(
    changes: dict[str, Any], made_of: tuple[Path, Path]
) -> None:
    notes = note_of(*made_of)
    assert find_note(spoilt(notes)) == find_note(notes)
    with pytest.raises(TalkheadError, match=r"^the note is damaged: "):
        find_note(spoilt(notes, **changes))


def test_what_a_newer_talkhead_says_besides_is_passed_over(made_of: tuple[Path, Path]) -> None:
    notes = note_of(*made_of)
    assert find_note(spoilt(notes, more=[1])) == find_note(notes)
