"""Frames to a contact sheet: `python contact_sheet.py FACE AUDIO SHEET.png`."""

import sys
from pathlib import Path

from PIL import Image

from talkhead import TalkheadPipeline

COLUMNS, ROWS, SIDE_PX = 6, 2, 160


def write_sheet(pipeline: TalkheadPipeline, face: Path, audio: Path, sheet: Path) -> None:
    """Put frames from all over a recording side by side, holding one of them at a time."""
    output = pipeline(face, audio, output_type="generator")
    picture = Image.new("RGB", (COLUMNS * SIDE_PX, ROWS * SIDE_PX))
    wanted = [index * output.num_frames // (COLUMNS * ROWS) for index in range(COLUMNS * ROWS)]
    for number, frame in enumerate(output.frames):
        for place in (index for index, chosen in enumerate(wanted) if chosen == number):
            small = Image.fromarray(frame).resize((SIDE_PX, SIDE_PX))
            picture.paste(small, (place % COLUMNS * SIDE_PX, place // COLUMNS * SIDE_PX))
    picture.save(sheet)
    print(f"{sheet}: {COLUMNS * ROWS} of {output.num_frames} frames")


if __name__ == "__main__":
    write_sheet(TalkheadPipeline.from_pretrained(dtype="auto"), *map(Path, sys.argv[1:4]))
