"""Scores and videos for a report, and a parser of its page."""

from collections.abc import Mapping
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from talkhead.evaluation.report_clips import ClipEvidence
from talkhead.evaluation.scores import IDENTITY, REAL, WARP
from talkhead.evaluation.tables import NEVER_SEEN, summarise
from talkhead.media.audio import write_waveform
from talkhead.media.video import VideoWriter

FPS, NUM_FRAMES = 25, 30
HOSTILE = "<script>alert(1)</script>"
CLIPS = ("anna-1", HOSTILE, "cleo-1", "seen-1")
MEASURES = {
    "psnr": {"title": "PSNR", "unit": "dB", "better": "higher", "digits": 2},
    "m_ld": {"title": "M-LD", "unit": "px", "better": "lower", "digits": 2},
    "lag": {"title": "lag of the lips", "unit": "frames", "better": "neither", "digits": 1},
    "fid": {"title": "FID", "unit": "", "better": "lower", "digits": 1},
}
# By system, the values of clips 0, 1, 2, and so on.
PSNR = {"ours": 30.0, IDENTITY: 25.0, WARP: 28.0, REAL: 45.0}


def make_scores(
    systems: Mapping[str, float] = PSNR, clips: tuple[str, ...] = CLIPS, stage: str = "both"
) -> dict[str, Any]:
    """Scores whose first clip is the best, with a decibel less for every next one."""
    rows = [
        {
            "clip": clip,
            "person": clip.partition("-")[0],
            "is_seen_person": clip.startswith("seen"),
            "system": system,
            "frames": NUM_FRAMES,
            "frames_without_face": 2 if system == "ours" else 0,
            "values": {"psnr": psnr - index, "m_ld": 50 - psnr + index, "lag": 0.5 * index},
        }
        for system, psnr in systems.items()
        for index, clip in enumerate(clips)
    ]
    of_set = {NEVER_SEEN: {system: {"fid": 77.7} for system in systems}}
    return {
        "schema": 2,
        "talkhead": "0.1.2",
        "stage": stage,
        "protocol": {
            "name": "speaker",
            "data": f"data/{HOSTILE}",
            "split": "dev",
            "seed": 7,
            "fps": "25",
            "codec": "h264, crf 18",
            "is_aligned": True,
            "networks": {"alexnet-lpips": "a" * 64},
        },
        "weights": {"ours": {"denoiser": "b" * 64}},
        "measures": MEASURES,
        "groups": summarise(rows, MEASURES, of_set) if rows else {},
        "not_computed": {"lpips": "run talkhead weights download lpips-alex", "odd": HOSTILE},
        "warnings": ["FID of 90 frames", f'" onload="{HOSTILE}'],
        "broken": [{"clip": f"{HOSTILE}-2", "system": "ours", "why": f"no face {HOSTILE}"}],
        "clips": rows,
    }


def make_evidence(folder: Path) -> dict[str, ClipEvidence]:
    """Small real videos: grey that gets lighter, with a hum."""
    at = np.arange(NUM_FRAMES * 640) / 16_000
    hum = np.asarray(0.3 * np.sin(700 * at) * np.sin(9 * at), np.float32)
    write_waveform(folder / "hum.wav", hum)
    found = {}
    for number, clip in enumerate(CLIPS):
        videos, openings = {}, {}
        for index, system in enumerate(PSNR):
            path = folder / f"{number}-{index}.mp4"
            ramp = np.linspace(40, 200, 256).astype(np.uint8)[None, :, None]
            with VideoWriter(
                path, size=(256, 256), fps=Fraction(FPS), sound=folder / "hum.wav"
            ) as video:
                for frame in range(NUM_FRAMES):
                    shade = np.uint8(frame + 10 * index)
                    video.write(np.broadcast_to(ramp + shade, (256, 256, 3)).copy())
            videos[system] = path
            opening = 0.1 + 0.05 * np.sin(np.arange(NUM_FRAMES) + index)
            openings[system] = opening.astype(np.float32)
        openings["ours"][3:6] = np.nan
        found[clip] = ClipEvidence(clip, FPS, hum, openings, videos)
    return found


class Page(HTMLParser):
    """What is on a page: elements with their attributes, and text outside of style."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        assert len({name for name, _ in attrs}) == len(attrs)
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style" and data.strip():
            self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())
