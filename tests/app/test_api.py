"""The page's HTTP API, through gradio's own client."""

import json
import select
import socket
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import typer
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from talkhead.cli.app import app
from talkhead.media.metadata import read_notes
from talkhead.media.video import probe_video
from talkhead.provenance.note import find_note
from talkhead.tracking.landmark_track import LandmarkTrack
from tests.app.conftest import MAX_MB, MAX_SECONDS, Served
from tests.tiny import write_voice


@pytest.fixture
def client(served: Served, tmp_path: Path) -> Iterator[Any]:
    found = Client(served.url, verbose=False, download_files=tmp_path / "downloads")
    yield found
    found.close()


def test_a_video_has_the_bytes_of_the_command_line(
    client: Any, face: Path, sound: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    typer.main.get_command(app).main(
        [
            *("render", str(face), str(sound), "-o", str(output), "--weights", str(tiny_weights)),
            *("--seed", "7", "--blink", "30", "--fps", "12.5", "--expression-strength", "1.5"),
            *("--max-size", "128", "--dtype", "float32", "--device", "cpu", "--quiet"),
        ],
        standalone_mode=False,
    )
    video, summary, facts = client.predict(
        picture=handle_file(str(face)),
        sound=handle_file(str(sound)),
        seed=7,
        blink=30,
        fps="12.5",
        expression_strength=1.5,
        max_size="128",
        api_name="/render",
    )
    assert Path(video).read_bytes() == output.read_bytes()
    assert Path(video).name == "voice.mp4"
    note = find_note(read_notes(Path(video)))
    assert note is not None
    assert note.synthetic
    assert "synthetic" in summary
    assert (facts["frames"], facts["seed"], facts["width"]) == (5, 7, 128)
    assert facts["weights"] == "unlisted"
    assert str(tmp_path.parent) not in str(facts)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sound": None}, "the sound is missing: add a recording"),
        ({"picture": None}, "the face is missing: add a picture or a video"),
        ({"fps": "fast"}, "frame rate 'fast' is not a number"),
        ({"choose": "2"}, "no face 2: 1 face was found"),
        ({"choose": "nobody"}, "cannot choose a face by 'nobody'"),
    ],
)
def test_a_bad_request_gets_the_line_of_the_command_line(
    client: Any, face: Path, sound: Path, values: dict[str, Any], message: str
) -> None:
    given = {"picture": handle_file(str(face)), "sound": handle_file(str(sound))}
    with pytest.raises(AppError) as caught:
        client.predict(**{**given, **values}, api_name="/render")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_sound_is_named_without_its_folder(
    client: Any, face: Path, tmp_path: Path, served: Served
) -> None:
    (tmp_path / "notes.wav").write_text("not a sound")
    with pytest.raises(AppError) as caught:
        client.predict(
            picture=handle_file(str(face)),
            sound=handle_file(str(tmp_path / "notes.wav")),
            api_name="/render",
        )
    assert str(caught.value).startswith("notes.wav cannot be read as audio")
    assert str(served.folder) not in str(caught.value)


def test_a_sound_above_the_limit_is_refused(client: Any, face: Path, tmp_path: Path) -> None:
    long = write_voice(tmp_path / "long.wav", MAX_SECONDS + 1)
    with pytest.raises(AppError, match=rf"long.wav is longer than {MAX_SECONDS} s"):
        client.predict(
            picture=handle_file(str(face)), sound=handle_file(str(long)), api_name="/render"
        )


def test_a_file_above_the_limit_is_not_stored(served: Served) -> None:
    before = set(served.folder.rglob("*"))
    answer = httpx.post(
        f"{served.url}gradio_api/upload",
        files={"files": ("big.bin", bytes(MAX_MB * 10**6 + 1))},
        timeout=60,
    )
    assert answer.status_code == 413
    assert not [path for path in set(served.folder.rglob("*")) - before if path.is_file()]


def test_no_other_file_of_the_machine_is_served(served: Served, sound: Path, client: Any) -> None:
    for path in (sound, Path("/etc/passwd"), Path.cwd() / "pyproject.toml"):
        answer = httpx.get(f"{served.url}gradio_api/file={path}")
        assert answer.status_code == 403, path
    forged = {"path": str(sound), "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(AppError):
        client.predict(picture=None, sound=forged, api_name="/render")


def test_a_cancelled_render_leaves_nothing(
    client: Any, face: Path, tmp_path: Path, served: Served
) -> None:
    long = write_voice(tmp_path / "long.wav", MAX_SECONDS - 1)
    before = set(served.folder.rglob("*.mp4"))
    job = client.submit(
        picture=handle_file(str(face)), sound=handle_file(str(long)), api_name="/render"
    )
    deadline = time.monotonic() + 60
    while not any("Rendering" in str(step) for step in job.outputs()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert job.cancel()
    # The pipeline becomes free again: another render can start, and ends.
    short = write_voice(tmp_path / "short.wav", 0.2)
    video, _, facts = client.predict(
        picture=handle_file(str(face)), sound=handle_file(str(short)), api_name="/render"
    )
    assert facts["frames"] == 5
    assert Path(video).is_file()
    made = set(served.folder.rglob("*.mp4")) - before
    assert [path.name for path in made] == ["short.mp4"]


def test_a_batch_gives_every_video_that_can_be_made(
    client: Any, face: Path, sound: Path, tmp_path: Path
) -> None:
    (tmp_path / "<notes>.wav").write_text("not a sound")
    other = write_voice(tmp_path / "other.wav", 0.2)
    videos, table = client.predict(
        picture=handle_file(str(face)),
        sounds=[handle_file(str(path)) for path in (sound, tmp_path / "<notes>.wav", other)],
        max_size="64",
        api_name="/batch",
    )
    assert [Path(video).name for video in videos] == ["voice.mp4", "other.mp4"]
    assert table.count("done") == 2
    assert "cannot be read as audio" in table
    assert "<notes>" not in table


def test_a_batch_has_a_limited_number_of_sounds(client: Any, face: Path, sound: Path) -> None:
    for sounds, message in (([], "the sounds are missing"), ([sound] * 21, "21 sounds are more")):
        with pytest.raises(AppError, match=message):
            client.predict(
                picture=handle_file(str(face)),
                sounds=[handle_file(str(path)) for path in sounds],
                api_name="/batch",
            )


def test_a_track_is_that_of_the_command_line_and_can_be_rendered(
    client: Any, face: Path, sound: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    given = {"picture": handle_file(str(face)), "sound": handle_file(str(sound))}
    options = {"seed": 7, "blink": 30, "fps": "12.5", "pose_strength": 0.5}
    drawn, made, _, facts = client.predict(**given, **options, api_name="/landmarks")
    assert (facts["frames"], facts["fps"], facts["width"]) == (5, "25/2", 192)
    assert probe_video(Path(drawn)).fps == Fraction(25, 2)
    track, output = tmp_path / "track.npz", tmp_path / "out.mp4"
    common = ["--weights", str(tiny_weights), "--device", "cpu", "--quiet"]
    command = typer.main.get_command(app)
    command.main(
        [
            *("landmarks", str(sound), "--face", str(face), "-o", str(track), *common),
            *("--seed", "7", "--blink", "30", "--fps", "12.5", "--pose-strength", "0.5"),
        ],
        standalone_mode=False,
    )
    expected = LandmarkTrack.read(track)
    assert (LandmarkTrack.read(Path(made)).points == expected.points).all()

    moved = LandmarkTrack(expected.points + 3, expected.fps, expected.size, expected.detector)
    moved.write(track)
    command.main(
        [
            *("render", str(face), str(sound), "-o", str(output), "--landmarks", str(track)),
            *("--fps", "12.5", "--dtype", "float32", *common),
        ],
        standalone_mode=False,
    )
    video, _, _ = client.predict(
        **given, track=handle_file(str(track)), fps="12.5", api_name="/render_track"
    )
    assert Path(video).read_bytes() == output.read_bytes()


def test_a_track_that_is_none_is_one_line(
    client: Any, face: Path, sound: Path, tmp_path: Path
) -> None:
    given = {"picture": handle_file(str(face)), "sound": handle_file(str(sound))}
    (tmp_path / "wrong.npz").write_text("not a track")
    for track, message in (
        (None, "the track is missing: add an .npz or .json file"),
        (handle_file(str(tmp_path / "wrong.npz")), "wrong.npz cannot be read as a landmark track"),
    ):
        with pytest.raises(AppError) as caught:
            client.predict(**given, track=track, api_name="/render_track")
        assert str(caught.value).startswith(message)


def test_twenty_visitors_at_once_all_get_their_videos(
    served: Served, face: Path, tmp_path: Path
) -> None:
    sounds = [write_voice(tmp_path / f"visitor{number}.wav", 0.2, number) for number in range(20)]
    visitors = [
        Client(
            served.url,
            verbose=False,
            download_files=tmp_path / sound.stem,
            httpx_kwargs={"timeout": 300},
        )
        for sound in sounds
    ]
    jobs = [
        visitor.submit(
            picture=handle_file(str(face)),
            sound=handle_file(str(sound)),
            max_size="64",
            api_name="/render",
        )
        for visitor, sound in zip(visitors, sounds, strict=True)
    ]
    for visitor, job, sound in zip(visitors, jobs, sounds, strict=True):
        video = Path(job.result(timeout=300)[0])
        assert video.name == f"{sound.stem}.mp4"
        note = find_note(read_notes(video))
        assert note is not None
        assert note.synthetic
        visitor.close()


def test_a_huge_upload_is_refused_after_the_limit(served: Served) -> None:
    parts = urlsplit(served.url)
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.bin"\r\n\r\n'
    head = (
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {2 * 10**9}\r\n\r\n"
    )
    num_sent, answer = 0, b""
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as link:
        link.sendall(head.encode() + part)
        while num_sent < 100 * 10**6 and not select.select([link], [], [], 0)[0]:
            link.sendall(bytes(10**5))
            num_sent += 10**5
        answer = link.recv(100)
    assert answer.startswith(b"HTTP/1.1 413")
    assert num_sent < 10 * MAX_MB * 10**6  # what was on its way is lost
    assert not list(served.folder.rglob("a.bin"))


def test_plain_requests_render_a_video(served: Served, face: Path, sound: Path) -> None:
    api = f"{served.url}gradio_api"
    given = {}
    for name, path in (("picture", face), ("sound", sound)):
        with path.open("rb") as file:
            (stored,) = httpx.post(f"{api}/upload", files={"files": file}).json()
        given[name] = {"path": stored, "meta": {"_type": "gradio.FileData"}}
    event = httpx.post(f"{api}/call/v2/render", json={"seed": 7, **given}).json()["event_id"]
    events = httpx.get(f"{api}/call/v2/render/{event}", timeout=120).text
    last = json.loads(events.strip().splitlines()[-1].removeprefix("data: "))
    assert "event: complete" in events
    assert (last[2]["seed"], last[2]["frames"]) == (7, 10)
    assert httpx.get(last[0]["url"]).content[4:8] == b"ftyp"
