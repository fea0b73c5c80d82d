import json
from fractions import Fraction
from pathlib import Path

import c2pa
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ed448, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

import talkhead
from talkhead.errors import TalkheadError
from talkhead.media.metadata import read_notes
from talkhead.media.video import VideoWriter, read_frames
from talkhead.provenance import (
    Signer,
    check_signer,
    find_note,
    provenance_note,
    read_credentials,
    sign,
)
from tests.certificates import ORGANISATION, SIGNER, Identity, new_key, write_identity, write_key
from tests.tiny import write_voice

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return write_identity(tmp_path_factory.mktemp("identity"))


@pytest.fixture(scope="module")
def signer(identity: Identity) -> Signer:
    return check_signer(*identity)


@pytest.fixture(scope="module")
def note(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    face = tmp_path_factory.mktemp("face") / "face.png"
    face.write_bytes(b"f")
    return provenance_note(face, face, weights_name="x", digests={"denoiser": "0" * 64}, seed=3)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, note: dict[str, str]) -> Path:
    folder = tmp_path_factory.mktemp("video")
    path = folder / "plain.mp4"
    sound = write_voice(folder / "voice.wav", 0.2)
    with VideoWriter(path, size=(64, 64), fps=Fraction(25), sound=sound, metadata=note) as writer:
        writer.write(np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), np.uint8))
    return path


@pytest.fixture(scope="module")
def signed(video: Path, signer: Signer, note: dict[str, str]) -> Path:
    path = video.with_name("signed.mp4")
    sign(video, path, signer, note)
    return path


def test_the_librarys_own_reader_finds_what_was_signed(signed: Path) -> None:
    with signed.open("rb") as file, c2pa.Reader("video/mp4", file) as reader:
        store = json.loads(reader.json())
    manifest = store["manifests"][store["active_manifest"]]
    (actions,) = [
        each["data"]["actions"]
        for each in manifest["assertions"]
        if each["label"].startswith("c2pa.actions")
    ]
    (created,) = actions
    assert created["action"] == "c2pa.created"
    assert created["digitalSourceType"] == SOURCE_TYPE
    assert created["softwareAgent"] == {"name": "talkhead", "version": talkhead.__version__}
    assert manifest["signature_info"]["common_name"] == SIGNER
    assert store["validation_state"] == "Valid"


def test_our_reading_agrees(signed: Path, note: dict[str, str]) -> None:
    found = read_credentials(signed)
    assert found is not None
    assert found.state == "Valid"
    # No trust list names a signer that a test has made.
    assert found.faults == ("signingCredential.untrusted",)
    assert (found.signer, found.issuer, found.algorithm.lower()) == (SIGNER, ORGANISATION, "es256")
    assert found.generator == f"talkhead {talkhead.__version__}"
    (action,) = found.actions
    assert (action.action, action.digital_source_type) == ("c2pa.created", SOURCE_TYPE)
    assert found.note == find_note(note)


def test_signing_changes_neither_pictures_nor_the_note(
    signed: Path, video: Path, note: dict[str, str]
) -> None:
    before, after = (np.stack(list(read_frames(path))) for path in (video, signed))
    np.testing.assert_array_equal(before, after)
    assert read_notes(signed).items() >= note.items()


def test_a_byte_that_was_changed_is_found(signed: Path, tmp_path: Path) -> None:
    content = bytearray(signed.read_bytes())
    content[content.rindex(b"mdat") + 300] ^= 1
    (tmp_path / "changed.mp4").write_bytes(content)
    found = read_credentials(tmp_path / "changed.mp4")
    assert found is not None
    assert found.state == "Invalid"
    assert any("bmffHash" in fault for fault in found.faults)


def test_a_video_that_nobody_signed_has_no_credentials(video: Path) -> None:
    assert read_credentials(video) is None


def test_without_a_note_no_hash_is_signed(video: Path, signer: Signer, tmp_path: Path) -> None:
    sign(video, tmp_path / "a.mp4", signer)
    found = read_credentials(tmp_path / "a.mp4")
    assert found is not None
    assert (found.state, found.note) == ("Valid", None)


@pytest.mark.parametrize("kind", ["es384", "es512", "ps256", "ed25519"])
def test_other_kinds_of_keys_sign_too(kind: str, video: Path, tmp_path: Path) -> None:
    own = check_signer(*write_identity(tmp_path, new_key(kind)))
    assert own.algorithm == kind
    sign(video, tmp_path / "a.mp4", own)
    found = read_credentials(tmp_path / "a.mp4")
    assert found is not None
    assert found.state == "Valid"


def test_a_key_in_the_older_form_signs_too(tmp_path: Path) -> None:
    key = new_key()
    identity = write_identity(tmp_path, key)
    write_key(identity.key, key, PrivateFormat.TraditionalOpenSSL)
    assert check_signer(*identity).algorithm == "es256"


def test_a_signer_does_not_show_its_key(signer: Signer) -> None:
    assert "PRIVATE" not in repr(signer)


def test_a_certificate_of_another_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match=r"chain\.pem expired on \d{4}-\d\d-\d\d"):
        check_signer(*write_identity(tmp_path / "old", valid_days=(-9, -1)))
    with pytest.raises(TalkheadError, match=r"chain\.pem is not valid before \d{4}-\d\d-\d\d"):
        check_signer(*write_identity(tmp_path / "new", valid_days=(1, 9)))


def test_a_key_that_does_not_fit_is_refused(identity: Identity, tmp_path: Path) -> None:
    write_key(tmp_path / "other.pem", new_key())
    with pytest.raises(TalkheadError, match=r"other\.pem is not the key of .*chain\.pem"):
        check_signer(identity.certificate, tmp_path / "other.pem")
    with pytest.raises(TalkheadError, match="starts with another certificate"):
        check_signer(*write_identity(tmp_path / "turned", ca_first=True))


def test_a_certificate_for_another_purpose_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match="cannot sign content credentials"):
        check_signer(*write_identity(tmp_path, purpose=ExtendedKeyUsageOID.SERVER_AUTH))


def test_keys_that_cannot_sign_are_refused(identity: Identity, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    for key in (ed448.Ed448PrivateKey.generate(), rsa.generate_private_key(65537, 1024)):
        write_key(path, key)
        with pytest.raises(TalkheadError, match="is a key of an unsupported type"):
            check_signer(identity.certificate, path)
    write_key(path, new_key(), encryption=BestAvailableEncryption(b"secret"))
    with pytest.raises(TalkheadError, match="is encrypted; decrypt it first"):
        check_signer(identity.certificate, path)


def test_files_that_hold_neither_are_refused(identity: Identity, tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match="has no PEM certificate"):
        check_signer(identity.key, identity.key)
    with pytest.raises(TalkheadError, match="has no readable PEM private key"):
        check_signer(identity.certificate, identity.certificate)
    with pytest.raises(TalkheadError, match="does not exist"):
        check_signer(identity.certificate, tmp_path / "none.pem")
    (tmp_path / "large.pem").write_bytes(b"x" * 1_000_001)
    with pytest.raises(TalkheadError, match="too large"):
        check_signer(tmp_path / "large.pem", identity.key)


def test_a_video_that_cannot_be_written_is_said_to_be_so(
    video: Path, signer: Signer, tmp_path: Path
) -> None:
    with pytest.raises(TalkheadError, match=r"cannot be signed \(No such file"):
        sign(video, tmp_path / "none" / "a.mp4", signer)


def test_what_has_no_credentials_to_read_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video " * 100)
    with pytest.raises(TalkheadError, match="content credentials"):
        read_credentials(tmp_path / "a.mp4")


def test_damaged_credentials_are_invalid_or_said_to_be_unreadable(
    signed: Path, tmp_path: Path
) -> None:
    content, path = signed.read_bytes(), tmp_path / "a.mp4"
    start, end = content.index(b"jumb"), content.index(b"moov")
    rng = np.random.default_rng(0)
    states = set()
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(min(start, end), max(start, end), 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            found = read_credentials(path)
        except TalkheadError:
            states.add("unreadable")
        else:
            states.add("none" if found is None else found.state)
    assert states <= {"unreadable", "none", "Invalid"}
    assert "Invalid" in states
