import os
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from talkhead.media import encoding, ffmpeg
from talkhead.media.picture_format import PictureFormat

LISTING = """\
Input #0, mov,mp4,m4a,3gp,3g2,mj2, from '/a/b.mp4':
  Duration: 01:02:03.45, start: 0.000000, bitrate: 574 kb/s
  Stream #0:0[0x1](eng): Video: h264 (High) (avc1 / 0x31637661), yuv420p, 512x512, 25 fps (default)
  Stream #0:1[0x2](eng): Audio: aac (LC) (mp4a / 0x6134706D), 48000 Hz, stereo, fltp (default)
  Stream #0:2: Video: png, rgb24(pc), 640x896, 90k tbr, 90k tbn (attached pic)
At least one output file must be specified
"""


def after(args: list[str], option: str) -> str:
    return args[args.index(option) + 1]


def test_names_cannot_be_taken_for_options_or_protocols() -> None:
    for name in ("-y", "http://example.org/a.wav", "concat:a|b", "%03d.png"):
        given = after(ffmpeg.read_sound_args(Path(name)), "-i")
        assert Path(given).is_absolute()
        assert given.endswith(Path(name).name)


def test_a_window_of_frames_is_read_on_the_videos_own_time_stamps() -> None:
    args = ffmpeg.read_frames_args(
        Path("a.mp4"),
        fps=Fraction(30000, 1001),
        start_s=2.0,
        num_frames=7,
        size=(320, 240),
        picture=PictureFormat("h264", "yuv420p", 640, 480),
    )
    assert after(args, "-ss") == "1.500000"
    assert after(args, "-frames:v") == "7"
    assert after(args, "-vf").startswith(
        "bwdif=mode=send_frame:deint=interlaced,"
        "fps=30000/1001:start_time=0.500000,setpts=N,scale=320:240:"
    )
    assert args.index("-ss") < args.index("-i")


def test_a_video_is_written_for_players_and_without_dates() -> None:
    args = encoding.write_video_args(
        Path("out.mp4"),
        size=(1025, 767),
        fps=Fraction(25),
        crf=20,
        sound=Path("voice.wav"),
        copy_sound=False,
        metadata={"comment": "made"},
    )
    assert after(args, "-c:v") == "libx264"
    assert after(args, "-crf") == "20"
    assert after(args, "-c:a") == "aac"
    assert after(args, "-movflags") == "+faststart"
    assert after(args, "-metadata") == "comment=made"
    assert after(args, "-vf").startswith("crop=1024:766:0:0,")
    assert "format=yuv420p" in after(args, "-vf")
    assert after(args, "-fflags") == "+bitexact"
    assert "-shortest" not in args


def test_a_video_without_a_target_is_fragments_of_a_second_on_stdout() -> None:
    args = encoding.write_video_args(
        None,
        size=(64, 64),
        fps=Fraction(30000, 1001),
        crf=18,
        sound=Path("voice.wav"),
        copy_sound=False,
        metadata={},
    )
    assert args[-1] == "pipe:1"
    assert after(args, "-g:v") == "30"
    assert after(args, "-movflags").startswith("+frag_keyframe+empty_moov")
    assert "faststart" not in after(args, "-movflags")


def test_sound_is_copied_only_on_request_and_absent_without_a_file() -> None:
    def args(sound: Path | None, *, copy_sound: bool, key: str) -> list[str]:
        return encoding.write_video_args(
            Path("out.mp4"),
            size=(64, 64),
            fps=Fraction(25),
            crf=18,
            sound=sound,
            copy_sound=copy_sound,
            metadata={key: "x"},
        )

    assert after(args(Path("a.m4a"), copy_sound=True, key="title"), "-c:a") == "copy"
    assert "-c:a" not in args(None, copy_sound=False, key="title")
    assert "use_metadata_tags" in after(args(None, copy_sound=False, key="seed"), "-movflags")


def test_the_list_of_streams_is_understood() -> None:
    assert ffmpeg.stream_kinds(LISTING) == ["Video", "Audio"]
    assert ffmpeg.audio_codec(LISTING) == "aac"
    assert ffmpeg.declared_duration_s(LISTING) == pytest.approx(3723.45)
    assert ffmpeg.audio_codec("nothing") is None
    assert ffmpeg.audio_rate_hz(LISTING) == 48_000
    assert ffmpeg.audio_rate_hz("nothing") is None
    assert ffmpeg.declared_duration_s("Duration: N/A") is None
    assert ffmpeg.declared_duration_s(LISTING + "Estimating duration from bitrate, ...") is None


def test_the_first_telling_message_is_one_line() -> None:
    messages = """\
[mp3 @ 0x5581] Format mp3 detected only with low score of 1, misdetection possible!
[in#0 @ 0x5581] [mov @ 0x5582] moov atom not found
Error opening input file /a/b.mp4.
"""
    assert ffmpeg.first_error(messages) == "moov atom not found"
    assert ffmpeg.first_error("Error opening input file /a.\n") == "Error opening input file /a"
    assert ffmpeg.num_decoding_errors(messages) == 0
    broken = "[aac] [dec:aac] Error submitting packet to decoder: Invalid data found\n"
    assert ffmpeg.num_decoding_errors(3 * broken) == 3
    assert ffmpeg.first_error("") == "no reason given"


def test_a_list_of_streams_is_no_reason() -> None:
    listing = "Input #0, mov, from '/a.mp4':\n  Duration: 00:00:02.00\n  Stream #0:0: Video: h264\n"
    failure = "[vf#0:0 @ 0x1] Error reinitializing filters!\n"
    assert ffmpeg.first_error(listing + failure) == "Error reinitializing filters"
    assert ffmpeg.first_error(listing) == "no reason given"


def test_many_messages_do_not_block_a_process() -> None:
    # An unread pipe holds 64 KiB; this produces 500 frames with a few lines each.
    source = "color=gray:s=16x16:r=25:d=20"
    status, output, messages = ffmpeg.run_ffmpeg(
        ["-f", "lavfi", "-i", source, "-vf", "showinfo", "-f", "rawvideo", "pipe:1"]
    )
    assert status == 0
    assert len(messages) > 100_000
    assert len(output) == 500 * 16 * 16 * 3 // 2


@pytest.mark.skipif(sys.platform == "win32", reason="asks the kernel for a process by its number")
def test_a_process_is_gone_after_an_error() -> None:
    args = ["-loglevel", "error", "-f", "lavfi", "-i", "testsrc", "-f", "rawvideo", "pipe:1"]
    numbers = []

    def stop_early() -> None:
        with ffmpeg.running_ffmpeg(args) as process:
            numbers.append(process.process.pid)
            process.stdout.read(10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_early()
    with pytest.raises(ProcessLookupError):
        os.kill(numbers[0], 0)
