import json
from pathlib import Path

from talkhead.weights import list_entries
from talkhead.weights.systems import NETWORK_FILES, TENSORS_NAME
from tests.cli.conftest import Run, RunHere, refused
from tests.pipelines.test_convert import write_old_talkhead
from tests.tiny import tiny_denoiser
from tests.weights_lists import asset_entry, file_of, model_entry


def with_network(home: Path) -> Path:
    """Add a tiny network to a copied talkhead, listed but not pinned."""
    (home / "weights.toml").write_text(model_entry("denoiser"))
    folder = home / "talkhead" / "checkpoints" / "talkhead" / "denoiser"
    tiny_denoiser().save_pretrained(folder)
    return folder


def test_list_names_every_entry(run_talkhead: Run) -> None:
    names = [entry.name for entry in list_entries()]
    rows = run_talkhead("weights", "list").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["NAME", *names]
    listed = json.loads(run_talkhead("weights", "list", "--json").stdout)
    assert [row["name"] for row in listed] == names


def test_pin_verify_and_path_follow_each_other(run_talkhead: Run, copied_talkhead: Path) -> None:
    folder = with_network(copied_talkhead)
    assert run_talkhead("weights", "verify", home=copied_talkhead).returncode == 4
    pinned = run_talkhead("weights", "pin", "--json", home=copied_talkhead)
    assert pinned.returncode == 0
    assert [file["path"] for file in json.loads(pinned.stdout)[0]["files"]] == [*NETWORK_FILES]
    verified = run_talkhead("weights", "verify", "--json", home=copied_talkhead)
    assert (verified.returncode, json.loads(verified.stdout)) == (0, {"denoiser": "ok"})
    located = run_talkhead("weights", "path", "denoiser", home=copied_talkhead)
    assert (located.returncode, located.stdout) == (0, f"{folder}\n")


def test_a_spoilt_file_exits_4_with_one_line(run_talkhead: Run, copied_talkhead: Path) -> None:
    folder = with_network(copied_talkhead)
    run_talkhead("weights", "pin", home=copied_talkhead)
    with (folder / TENSORS_NAME).open("ab") as file:
        file.write(b"x")
    for command in (["verify"], ["verify", "denoiser"], ["path", "denoiser"]):
        ended = run_talkhead("weights", *command, home=copied_talkhead)
        assert ended.returncode == 4
        assert ended.stderr.startswith(f"talkhead: {folder / TENSORS_NAME} is corrupt")
        assert ended.stderr.count("\n") == 1


def test_an_unknown_name_exits_4_and_names_the_choices(run_talkhead: Run) -> None:
    for command in ("verify", "path"):
        ended = run_talkhead("weights", command, "nope")
        assert (ended.returncode, ended.stdout) == (4, "")
        assert ended.stderr.startswith("talkhead: no weights named 'nope'")


def test_what_is_not_fetched_is_broken_only_when_it_is_named(
    run_talkhead: Run, copied_talkhead: Path
) -> None:
    (copied_talkhead / "weights.toml").write_text(asset_entry(file_of(b"abc")))
    every = run_talkhead("weights", "verify", home=copied_talkhead)
    assert (every.returncode, every.stdout) == (0, "asset  not fetched\n")
    assert run_talkhead("weights", "verify", "asset", home=copied_talkhead).returncode == 4
    offline = run_talkhead("weights", "path", "asset", "--offline", home=copied_talkhead)
    assert offline.returncode == 4
    assert offline.stderr.startswith("talkhead: asset is not on this machine")


def test_download_verifies_what_is_here_and_refuses_unknown_names(
    run_talkhead: Run, copied_talkhead: Path
) -> None:
    folder = with_network(copied_talkhead)
    assert run_talkhead("weights", "pin", home=copied_talkhead).returncode == 0
    ended = run_talkhead("weights", "download", "denoiser", "--json", home=copied_talkhead)
    assert json.loads(ended.stdout) == {"denoiser": str(folder)}
    wrong = run_talkhead("weights", "download", "denoiser", "lpips", home=copied_talkhead)
    assert wrong.returncode == 4
    assert "no weights named 'lpips'" in wrong.stderr
    assert wrong.stderr.count("\n") == 1


def test_convert_writes_a_new_folder_and_never_into_an_old_one(
    run_here: RunHere, tmp_path: Path
) -> None:
    write_old_talkhead(tmp_path / "old")
    ended = run_here("weights", "convert", "old", "-o", "new")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "new\n", "")
    located = run_here("weights", "path", "new")
    assert (located.returncode, located.stdout) == (0, "new\n")
    refused(run_here("weights", "convert", "old", "-o", "new"), 2, "new exists: choose another")
    refused(run_here("weights", "convert", "new", "-o", "newer"), 4, "new is not a pipeline of ta")
    assert not (tmp_path / "newer").exists()


def test_average_writes_the_mean_of_checkpoints(run_here: RunHere, tmp_path: Path) -> None:
    for name in ("one", "two"):
        tiny_denoiser().save_pretrained(tmp_path / name)
    ended = run_here("weights", "average", "one=0.4", "two=0.6", "-o", "mean")
    assert (ended.returncode, ended.stdout) == (0, "mean\n")
    assert {file.name for file in (tmp_path / "mean").iterdir()} == {*NETWORK_FILES}
    refused(run_here("weights", "average", "one", "-o", "mean"), 2, "at least two")
