"""Plots of the report as inline SVG, with the page's own colours and with real text.

Figures use neither pyplot nor the user's matplotlib settings. The only text in them is numbers and
units: names go on the page next to them, where a browser can display any script.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from talkhead.evaluation.scores import REAL, TRUTH
from talkhead.media.rates import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float32]

TRUTHS = (REAL, TRUTH)
"""Systems that are the real clip; the page has a colour of its own for them."""
NUM_COLOURS = 8
MARKERS = ("o", "s", "^", "D", "v", "p", "*", "h")
"""One per system, so that no one has to rely on colours."""
MAX_HINTS = 1000
"""Maximum number of points with a tooltip; plots with more have none."""

# Placeholders for the page's colours, which differ in dark mode; replaced in the SVG.
_INK, _LINE, _WAVE, _REAL = "#010101", "#020202", "#030303", "#040404"
_SYSTEM = tuple(f"#0501{index:02x}" for index in range(NUM_COLOURS))
_PAGE_COLOURS = {
    _INK: "var(--quiet)",
    _LINE: "var(--line)",
    _WAVE: "var(--wave)",
    _REAL: "var(--real)",
    **{colour: f"var(--system-{index})" for index, colour in enumerate(_SYSTEM)},
}
_FONT_PX = 10


def colour_indices(systems: Iterable[str]) -> dict[str, int | None]:
    """Return the colour index of every system; None for the truth."""
    systems = list(systems)
    generated = [name for name in systems if name not in TRUTHS]
    return {name: None if name in TRUTHS else generated.index(name) for name in systems}


def css_colour(index: int | None) -> str:
    """Return the name of a colour in the page's style sheet."""
    return "--real" if index is None else f"--system-{index % NUM_COLOURS}"


@dataclass(frozen=True)
class Series:
    """Values of one system: `values[i]` belongs to clip `at[i]` and has the tooltip `hints[i]`.

    `colour` counts from 0; None for the real video.
    """

    colour: int | None
    at: Sequence[int]
    values: Sequence[float]
    hints: Sequence[str]


def plot_by_clip(
    series: Sequence[Series], num_clips: int, *, divider: int | None, key: str, title: str
) -> str:
    """Plot one measure: a point for every clip and system, clips by number from left to right.

    Args:
        series: one per system.
        num_clips: total number of clips.
        divider: number of clips in the first group; None if there is only one group.
        key: unique on the page.
        title: text alternative for screen readers.

    Returns:
        An `svg` element.
    """
    from matplotlib.ticker import MaxNLocator

    width, height = 360, 170
    with _settings(key):
        figure, axes = _figure(width, height, left=46, right=8, top=8, bottom=22)
        for index, one in enumerate(series):
            axes.plot(
                [number + 1 for number in one.at],
                one.values,
                linestyle="none",
                marker=MARKERS[_marker(one.colour)],
                markersize=6 if num_clips <= 25 else 4.5 if num_clips <= 80 else 3,
                color=_REAL if one.colour is None else _SYSTEM[one.colour % NUM_COLOURS],
                markerfacecolor="none" if one.colour is None else None,
                markeredgewidth=1 if one.colour is None else 0,
                alpha=0.85,
                zorder=2 if one.colour is None else 3,
                gid=f"series{index}",
            )
        if divider is not None:
            axes.axvline(divider + 0.5, color=_INK, linewidth=0.8, linestyle=(0, (3, 3)))
        axes.set_xlim(0.4, num_clips + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.margins(y=0.12)
        hints = None
        if sum(len(one.values) for one in series) <= MAX_HINTS:
            hints = [one.hints for one in series]
        return _svg(figure, key, title, hints)


def plot_opening(
    real: Floats | None,
    generated: Floats,
    *,
    colour: int,
    rate_hz: float,
    waveform: Floats,
    top: float,
    key: str,
    title: str,
) -> str:
    """Plot the mouth opening over the waveform: the real curve and a generated one.

    Args:
        real: shape = (T,), eye distances, nan if no face was found; None if unknown.
        generated: as `real`.
        colour: colour index of the system.
        rate_hz: frames per second.
        waveform: shape = (N,), 16 kHz; may be empty.
        top: largest opening on the scale, shared by several plots.
        key: unique on the page.
        title: text alternative for screen readers.

    Returns:
        An `svg` element.
    """
    from matplotlib.ticker import MaxNLocator

    width, height = 880, 132
    curves = [(generated, _SYSTEM[colour % NUM_COLOURS], 1.8)]
    if real is not None:
        curves.insert(0, (real, _REAL, 1.6))
    seconds = max(
        [len(curve) / rate_hz for curve, _, _ in curves]
        + [len(waveform) / SAMPLE_RATE_HZ, 1 / rate_hz]
    )
    with _settings(key):
        figure, axes = _figure(width, height, left=40, right=8, top=6, bottom=22)
        _draw_waveform(figure, axes, waveform, seconds)
        for curve, paint, line in curves:
            at = (np.arange(len(curve)) + 0.5) / rate_hz
            axes.plot(at, curve, color=paint, linewidth=line, solid_joinstyle="round")
        axes.set_xlim(0, seconds)
        axes.set_ylim(0, 1.08 * top)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.xaxis.set_major_locator(MaxNLocator(10))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} s")
        return _svg(figure, key, title)


def largest_opening(curves: Sequence[Floats]) -> float:
    """Return an upper limit of the scale that fits all curves."""
    found = [float(np.nanmax(curve)) for curve in curves if np.isfinite(curve).any()]
    return max([*found, 0.05])


def marker_path(colour: int | None, side: float) -> str:
    """Return the `d` attribute of an SVG path: a system's marker in a box with this side."""
    from matplotlib.markers import MarkerStyle

    marker = MarkerStyle(MARKERS[_marker(colour)])
    path = marker.get_path().transformed(marker.get_transform())
    outline = np.array(path.to_polygons(closed_only=True)[0], np.float64) * np.array([1, -1])
    size = float(np.abs(outline).max())
    points = outline * (0.45 * side / size) + side / 2
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points) + "Z"


def _marker(colour: int | None) -> int:
    return 0 if colour is None else colour % len(MARKERS)


def _settings(key: str) -> AbstractContextManager[None]:
    """Return a context with matplotlib's defaults, and ids that depend only on the plot."""
    import matplotlib

    settings = dict(matplotlib.rcParamsDefault)
    # The backend is the caller's choice, and SVG output does not use it.
    for name in [name for name in settings if name.startswith("backend")]:
        del settings[name]
    settings |= {
        "svg.hashsalt": key,
        "svg.fonttype": "none",
        "font.size": _FONT_PX,
        "axes.unicode_minus": True,
        "axes.formatter.useoffset": False,
    }
    return matplotlib.rc_context(settings)


def _figure(
    width: int, height: int, *, left: int, right: int, top: int, bottom: int
) -> tuple[Figure, Axes]:
    """Return a figure and its axes; sizes and margins in CSS pixels."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    figure.patch.set_visible(False)
    box = (left / width, bottom / height, (width - left - right) / width)
    axes = figure.add_axes((*box, (height - top - bottom) / height))
    axes.patch.set_visible(False)
    axes.grid(axis="y", color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, length=0, pad=5)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_LINE)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    return figure, axes


def _draw_waveform(figure: Figure, axes: Axes, waveform: Floats, seconds: float) -> None:
    """Draw the waveform's outline behind the curves, at the full height of the plot."""
    if not len(waveform):
        return
    count = min(440, len(waveform))
    edges = np.linspace(0, len(waveform), count + 1).astype(int)[:-1]
    level = np.maximum(np.abs(waveform).max(), 1e-6)
    low = np.minimum.reduceat(waveform, edges) / level
    high = np.maximum.reduceat(waveform, edges) / level
    behind = figure.add_axes(axes.get_position().bounds)
    behind.axis("off")
    behind.set_zorder(axes.get_zorder() - 1)
    behind.fill_between(edges / SAMPLE_RATE_HZ, low, high, color=_WAVE, linewidth=0)
    behind.set_xlim(0, seconds)
    behind.set_ylim(-1.05, 1.05)


def _svg(figure: Figure, key: str, title: str, hints: Sequence[Sequence[str]] | None = None) -> str:
    """Return a figure as an SVG element for the page, with unique ids and no external names."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    box = re.search(r'viewBox="([^"]*)"', text)
    if box is None:
        raise ValueError("matplotlib wrote an SVG without a view box")
    body = text[text.index(">", box.end()) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # Its only CSS rule would apply to the whole page; the page's own style has it.
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href", "href")
    # Drop ids that nothing refers to, and fonts: the page sets its own.
    body = re.sub(r'(<g) id="(?!series)[^"]*"', r"\1", body)
    body = re.sub(r"\s*<g/>", "", body)
    body = re.sub(r' font-family: [^;]*;| transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{key}-", body)
    for colour, page in _PAGE_COLOURS.items():
        body = body.replace(colour, page)
    body = re.sub(r"\s*\n\s*", "\n", body).strip()
    for index, texts in enumerate(hints or ()):
        body = _with_hints(body, f"{key}-series{index}", texts)
    name = f"{key}-title"
    return (
        f'<svg class="plot" role="img" aria-labelledby="{name}" viewBox="{box[1]}">\n'
        f'<title id="{name}">{escape(title)}</title>\n{body}\n</svg>'
    )


def _with_hints(body: str, series: str, texts: Sequence[str]) -> str:
    """Add tooltips to the points of one series."""
    start = body.find(f'<g id="{series}">')
    if start < 0:
        return body
    parts = re.split(r"(<use [^>]*/>)", body[start:], maxsplit=len(texts))
    if len(parts) != 2 * len(texts) + 1:
        raise ValueError(f"{series} has fewer points than {len(texts)}")
    for index, text in enumerate(texts):
        point = parts[2 * index + 1]
        parts[2 * index + 1] = f"<g><title>{escape(text)}</title>{point}</g>"
    return body[:start] + "".join(parts)
