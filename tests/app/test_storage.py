from pathlib import Path

import pytest

from talkhead.app.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "files")


def upload(storage: Storage, name: str, folder: str = "hash") -> Path:
    """Store an upload as gradio does: a new file takes the place of an equal one."""
    path = storage.folder / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    new = storage.folder / "new"
    new.write_text("sound")
    new.replace(path)
    return path


def test_the_files_of_a_visitor_who_leaves_are_deleted(storage: Storage) -> None:
    path, other = upload(storage, "a.wav"), upload(storage, "b.wav", "other")
    storage.keep("ann", [path])
    storage.keep("bob", [other])
    storage.forget("ann")
    assert not path.parent.exists()
    assert other.exists()
    storage.forget("ann")  # twice is no error
    storage.forget(None)


def test_a_file_that_two_visitors_use_stays_until_both_have_left(storage: Storage) -> None:
    path = upload(storage, "a.wav")
    storage.keep("ann", [path])
    storage.keep("bob", [path])
    storage.forget("ann")
    assert path.exists()
    storage.forget("bob")
    assert not path.exists()


def test_an_equal_upload_that_came_later_stays(storage: Storage) -> None:
    path = upload(storage, "a.wav")
    storage.keep("ann", [path])
    upload(storage, "a.wav")  # another visitor's, who has not used it yet
    storage.forget("ann")
    assert path.exists()


def test_examples_and_files_elsewhere_are_never_deleted(storage: Storage, tmp_path: Path) -> None:
    example, elsewhere = upload(storage, "face.png"), tmp_path / "passwords"
    elsewhere.write_text("secret")
    storage.share()
    hidden = storage.folder / ".." / elsewhere.name
    storage.keep("ann", [example, elsewhere, hidden, storage.folder / "missing"])
    storage.delete(hidden)
    storage.forget("ann")
    assert example.exists()
    assert elsewhere.exists()
