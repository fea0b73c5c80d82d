"""What a dubbed video keeps of the original besides its picture: tracks, chapters, metadata."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from talkhead.errors import TalkheadError
from talkhead.media import ffmpeg
from talkhead.media.containers import MOV, MP4, Container
from talkhead.media.files import check_input
from talkhead.media.kinds import demuxer_of
from talkhead.media.metadata import parse_sections
from talkhead.media.tracks import Track, num_chapters, parse_tracks, sound_tracks

_TECHNICAL = re.compile(
    r"major_brand|minor_version|compatible_brands|encoder|creation_time|duration.*|bps.*"
    r"|number_of_.*|_statistics_.*|vendor_id|handler_name|name|language|timecode"
)
"""Tags that describe the file itself, and not what it shows."""
_HANDLERS = re.compile(r"|(Video|Sound|Subtitle)Handler|.*\bISO Media\b.*|.*GPAC.*|Core Media.*")
"""Names that programs give to every track."""
_SYNONYMS = {"captions": "hearing_impaired", "descriptions": "visual_impaired"}
_FILE_TAGS = ("filename", "mimetype")
"""Without these, an attachment cannot be written."""
_MAX_NAMED = 3


@dataclass(frozen=True)
class KeptTrack:
    """A track of the output.

    Attributes:
        source: the rendered picture, the new voice, or the original video.
        number: which track of the original it is, or whose place it takes; None for a voice that
            takes the place of none.
        kind: as in `Track`.
        encoder: ffmpeg's encoder; copy leaves a track as it is.
        tags: language and title; of an attachment, its name and type.
        flags: dispositions.
    """

    source: Literal["picture", "voice", "original"]
    number: int | None
    kind: str
    encoder: str
    tags: Mapping[str, str]
    flags: tuple[str, ...]


@dataclass(frozen=True)
class KeptStreams:
    """What a dubbed video keeps.

    Attributes:
        path: the original.
        tracks: all tracks of the output, in order.
        tags: metadata of the file.
        num_chapters: how many chapters there are.
        left_out: what the container cannot hold, in words.
        container: its name.
        duration_s: length of the output; what comes later in the original is cut off.
    """

    path: Path
    tracks: tuple[KeptTrack, ...]
    tags: Mapping[str, str]
    num_chapters: int
    left_out: tuple[str, ...]
    container: str
    duration_s: float

    @property
    def is_plain(self) -> bool:
        """Whether picture and voice are all there is."""
        return not (
            self.tags
            or self.num_chapters
            or any(
                t.source == "original" or t.tags or set(t.flags) - {"default"} for t in self.tracks
            )
        )


def plan_kept(
    path: Path,
    container: Container,
    *,
    replaced: int | None,
    voice: tuple[Path, int] | None,
    duration_s: float,
    written_tags: Collection[str] = (),
) -> KeptStreams:
    """Decide what a dubbed video keeps; nothing is decoded.

    The voice takes the place of the replaced track and its default flag. It has the language and
    title of its own file, because those of the replaced track describe other words.

    Args:
        path: the original video.
        container: where it goes.
        replaced: the sound track that the voice replaces, from 0 among those of sound; None for a
            video without sound.
        voice: the file of the voice, and its sound track; None for sound in memory.
        duration_s: length of the output.
        written_tags: keys of metadata that will be written anew.

    Raises:
        TalkheadError: a file cannot be read.
    """
    listing, file_tags, track_tags = _read(path)
    tracks = parse_tracks(listing)
    sounds = sound_tracks(tracks)
    old = None if replaced is None else sounds[replaced]
    picture = next(t for t in tracks if t.kind == "Video" and "attached_pic" not in t.flags)
    spoken = KeptTrack(
        "voice",
        None if old is None else old.number,
        "Audio",
        "aac",
        {} if voice is None else _spelt(_voice_tags(*voice), container)[0],
        ("default",) if old is None or "default" in old.flags else (),
    )
    kept: list[KeptTrack] = []
    left_out: list[str] = []
    others: Counter[str] = Counter()
    for track in tracks:
        flags = {_SYNONYMS.get(flag, flag) for flag in track.flags}
        tags, lost_language = _spelt(
            _track_tags(track, track_tags.get(track.number, {})), container
        )
        if track is old:
            kept.append(spoken)
            continue
        encoder = "libx264" if track is picture else _encoder_of(track, tags, container)
        if encoder is None:
            if track.kind == "Subtitle":
                order = [t for t in tracks if t.kind == "Subtitle"].index(track) + 1
                language = f"{track.language}, " if track.language else ""
                left_out.append(f"subtitles {order} ({language}{track.codec})")
            elif not (track.kind == "Data" and track.codec == "bin_data"):  # chapters of an mp4
                others[_kind_name(track)] += 1
            continue
        if missing := sorted(flags - container.flags):
            left_out.append(f"the flag {', '.join(missing)} of track {track.number + 1}")
        if lost_language:
            left_out.append(f"the language {lost_language} of track {track.number + 1}")
        kept.append(
            KeptTrack(
                "picture" if track is picture else "original",
                track.number,
                track.kind,
                encoder,
                tags,
                tuple(sorted(flags & container.flags)),
            )
        )
        if track is picture and old is None:
            kept.append(spoken)
    left_out += [f"{count} {name}{'s' * (count > 1)}" for name, count in sorted(others.items())]
    subtitles = [t for t in kept if t.kind == "Subtitle"]
    if container in (MP4, MOV) and subtitles and not any("default" in t.flags for t in subtitles):
        left_out.append("that no subtitles are on at first")  # ffmpeg turns on the first
    tags, lost = _file_tags(file_tags, container, written_tags)
    left_out += lost
    return KeptStreams(
        path=path,
        tracks=tuple(kept),
        tags=tags,
        num_chapters=num_chapters(listing),
        left_out=tuple(left_out),
        container=container.name,
        duration_s=duration_s,
    )


def _read(path: Path) -> tuple[str, dict[str, str], dict[int, dict[str, str]]]:
    """Return the list of tracks, the file's tags, and each track's tags."""
    check_input(path)
    status, output, messages = ffmpeg.run_ffmpeg(ffmpeg.read_tags_args(path, demuxer_of(path)))
    if status != 0:
        raise TalkheadError(
            f"the tracks of {path} cannot be read ({ffmpeg.first_error(messages)}); convert it to"
            " mp4, or copy it again"
        )
    notes, sections = parse_sections(output.decode("utf-8", "replace"))
    numbers = [track.number for track in parse_tracks(messages) if track.kind != "Unknown"]
    return messages, notes, dict(zip(numbers, sections, strict=False))


def _voice_tags(path: Path, track: int) -> dict[str, str]:
    listing, _, tags = _read(path)
    spoken = sound_tracks(parse_tracks(listing))[track]
    return _track_tags(spoken, tags.get(spoken.number, {}))


def _track_tags(track: Track, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the language and the title; mp4 has two other places for a title."""
    if track.kind == "Attachment":
        return {key: tags[key] for key in _FILE_TAGS if key in tags}
    title = tags.get("title") or tags.get("name") or tags.get("handler_name", "")
    found = {"language": track.language} if track.language else {}
    return found if _HANDLERS.fullmatch(title) else found | {"title": title}


def _spelt(tags: dict[str, str], container: Container) -> tuple[dict[str, str], str]:
    """Return a track's tags as a container spells them, and the language that it cannot store."""
    language = tags.get("language", "")
    if not language or container.languages is None:
        return tags, ""
    spelt = container.languages.get(language.lower())
    others = {key: value for key, value in tags.items() if key != "language"}
    return (others, language) if spelt is None else (others | {"language": spelt}, "")


def _file_tags(
    tags: Mapping[str, str], container: Container, written: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """Return the tags of the file that are kept, and in words which are not."""
    telling = {key: value for key, value in tags.items() if not _TECHNICAL.fullmatch(key)}
    held = {
        key: value
        for key, value in telling.items()
        if key not in written and (container.tags is None or key in container.tags)
    }
    # A mark of an earlier dub makes room for the new one.
    is_marked = telling.get("comment", "").startswith("Synthetic:")
    lost = [k for k in sorted(telling) if k not in held and not (is_marked and k in written)]
    if not lost:
        return held, []
    more = len(lost) - _MAX_NAMED
    names = ", ".join(lost[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
    return held, [f"the tag{'s' * (len(lost) > 1)} {names}"]


def _encoder_of(track: Track, tags: Mapping[str, str], container: Container) -> str | None:
    if track.kind == "Audio" and track.codec != "none":
        return "copy" if track.codec in container.sounds else container.voice
    if track.kind == "Subtitle":
        return container.subtitles.get(track.codec)
    is_file = track.kind == "Attachment" and all(key in tags for key in _FILE_TAGS)
    return "copy" if is_file and container.holds_files else None


def _kind_name(track: Track) -> str:
    if track.kind == "Video":
        return "cover picture" if "attached_pic" in track.flags else "other picture track"
    names = {"Audio": "sound track", "Attachment": "attachment"}
    return names.get(track.kind, "data track")


def track_args(tracks: Sequence[KeptTrack]) -> list[str]:
    """Return the arguments that set the tags and flags of the tracks."""
    args: list[str] = []
    for index, track in enumerate(tracks):
        for key, value in track.tags.items():
            args += [f"-metadata:s:{index}", f"{key}={value}"]
        if track.kind != "Attachment":
            args += [f"-disposition:{index}", "+".join(track.flags) or "0"]
    return args
