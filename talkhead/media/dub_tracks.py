"""The tracks of a dub: which sound speaks, which it replaces, and what else the video keeps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from talkhead.errors import TalkheadError
from talkhead.limits import MAX_BACKGROUND_DB

if TYPE_CHECKING:
    from talkhead.media.containers import Container
    from talkhead.media.encoding import BackgroundSound, Voice
    from talkhead.media.kept_streams import KeptStreams
    from talkhead.media.tracks import Track


@dataclass(frozen=True)
class DubTracks:
    """The sound tracks of a job, counted from 0 among those of their file.

    Attributes:
        voice: the track that speaks.
        replaced: the track of the dubbed video that it replaces; None for a picture, or a video
            without sound.
        background: that track, to be mixed under the voice; None to leave it out.
    """

    voice: int
    replaced: int | None = None
    background: BackgroundSound | None = None


def choose_tracks(
    face: Path | None, audio: Path | None, wanted: str | None, background_db: float | None
) -> DubTracks:
    """Choose the sound tracks of a job; nothing is decoded.

    Args:
        face: the video to dub; None for a picture.
        audio: the file with the voice; None for sound in memory, which is one track.
        wanted: a number from 1, or a language tag. It chooses the voice if `audio` has several
            sound tracks, and otherwise the track of the video that the voice replaces; if both
            are the same file, it does both. None chooses the tracks that are flagged as default.
        background_db: how much the replaced sound is lowered under the voice; None leaves it out.

    Raises:
        TalkheadError: there is no such track, or no sound to keep, or the number is out of range.
    """
    from talkhead.media.encoding import BackgroundSound
    from talkhead.media.tracks import Track, choose_sound, list_tracks, sound_tracks

    if background_db is not None and not 0 <= background_db <= MAX_BACKGROUND_DB:
        raise TalkheadError(
            f"the background sound is lowered by 0 to {MAX_BACKGROUND_DB:g} dB, not"
            f" {background_db:g}"
        )
    spoken = [Track(0, "Audio", "")] if audio is None else list_tracks(audio)
    name = audio or Path("the sound")
    if not sound_tracks(spoken):  # who decodes it says why
        return DubTracks(0)
    if face is None:
        if background_db is not None:
            raise TalkheadError("a picture has no sound to keep under the voice")
        return DubTracks(choose_sound(spoken, wanted, name))
    is_same = audio is not None and face.samefile(audio)
    for_voice = is_same or len(sound_tracks(spoken)) > 1
    voice = choose_sound(spoken, wanted if for_voice else None, name)
    listed = list_tracks(face)
    sounds = sound_tracks(listed)
    if not sounds and background_db is not None:
        raise TalkheadError(f"{face} has no sound to keep under the voice")
    if not sounds and (wanted is None or for_voice):
        return DubTracks(voice)
    replaced = choose_sound(listed, wanted if is_same or not for_voice else None, face)
    if background_db is None:
        return DubTracks(voice, replaced)
    background = BackgroundSound(
        path=face,
        track=replaced,
        lowered_db=background_db,
        is_mono=sounds[replaced].is_mono,
        voice_is_mono=sound_tracks(spoken)[voice].is_mono,
    )
    return DubTracks(voice, replaced, background)


def mix_voices(
    sounds: Sequence[tuple[Path, int | None]], background: BackgroundSound | None
) -> tuple[tuple[Voice, ...], BackgroundSound | None]:
    """Return the sounds of several people, and what goes under them; no voices for one person.

    Args:
        sounds: the files, and the sound track of each, from 0; None for the default one.
        background: as chosen for the first of them alone.

    Raises:
        TalkheadError: a file cannot be read, or has no sound.
    """
    from talkhead.media.encoding import Voice

    if len(sounds) < 2:
        return (), background
    voices = []
    for path, chosen in sounds:
        number, track = _sound_track(path, chosen)
        voices.append(Voice(path, number, track.is_mono))
    if background is not None:
        background = replace(background, voice_is_mono=all(voice.is_mono for voice in voices))
    return tuple(voices), background


def plan_dub(
    face: Path,
    audio: Path,
    output: Path,
    tracks: DubTracks,
    duration_s: float,
    written_tags: Collection[str],
) -> KeptStreams:
    """Return what a dubbed video keeps.

    Args:
        face: the video.
        audio: the file with the voice.
        output: its name chooses the container.
        tracks: from `choose_tracks`.
        duration_s: length of the output.
        written_tags: keys of metadata that the output has anew.

    Raises:
        TalkheadError: a file cannot be read.
    """
    from talkhead.media.containers import MP4, container_of
    from talkhead.media.kept_streams import plan_kept

    container = container_of(output)
    return plan_kept(
        face,
        MP4 if container is None or container.voice is None else container,
        replaced=tracks.replaced,
        voice=(audio, tracks.voice),
        duration_s=duration_s,
        written_tags=written_tags,
    )


def sound_to_write(path: Path, chosen: int | None, container: Container) -> tuple[int, bool]:
    """Return which sound track to write, and whether players take it as it is.

    Args:
        path: the file with the sound.
        chosen: a track, from 0; None for the one that is flagged as the default.
        container: what it goes into.

    Raises:
        TalkheadError: the file has no sound.
    """
    from talkhead.media.encoding import MAX_AAC_RATE_HZ

    number, sound = _sound_track(path, chosen)
    is_slow_enough = sound.rate_hz is not None and sound.rate_hz <= MAX_AAC_RATE_HZ
    wanted = {"aac": "aac", "libopus": "opus"}.get(container.voice or "")
    return number, sound.codec == wanted and is_slow_enough


def _sound_track(path: Path, chosen: int | None) -> tuple[int, Track]:
    """Return a sound track of a file and its number; the default one if none is chosen."""
    from talkhead.media.tracks import choose_sound, list_tracks, sound_tracks

    tracks = list_tracks(path)
    if not sound_tracks(tracks):
        raise TalkheadError(f"{path} has no readable audio stream; choose a file with sound")
    number = choose_sound(tracks, None, path) if chosen is None else chosen
    return number, sound_tracks(tracks)[number]
