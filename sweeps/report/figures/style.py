"""One look for all figures: size, type, colours that colour-blind readers tell apart, files written."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

WIDTH, HEIGHT = 4.3, 3.35
"""Inches: a column of a paper, and a phone's width, so that type stays readable on both."""

HANDLE, CHARACTER = 0.4, 0.062
"""Inches that a legend's entry takes beside its text, and a character of it: labels stay in the figure."""

INK, MUTED, GRID = "#1c1c1c", "#5c5c5c", "#e3e3e3"

# Okabe & Ito (2008), "Color Universal Design"; yellow left out, too light on white.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_KNOWN = {
    "standard": ("#333333", "o"),
    "pareto": ("#D55E00", "s"),
    "hard-negative": ("#0072B2", "^"),
    "denoising": ("#009E73", "D"),
    "adversarial": ("#CC79A7", "v"),
}

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.7,
    "lines.markersize": 5.5,
    "figure.figsize": (WIDTH, HEIGHT),
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "svg.hashsalt": "paretrieve",
    "svg.fonttype": "none",  # text stays text: to be found, read aloud, and a tenth of the bytes
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Panel:
    """One figure: the files' stem, what it shows in words (also its alternative text), and the drawing."""

    name: str
    caption: str
    figure: Figure

    @property
    def wide(self) -> bool:
        """Whether it needs the width of two."""
        return self.figure.get_figwidth() > 2 * WIDTH


@dataclass(frozen=True)
class Look:
    """Colour and marker of one series."""

    colour: str
    marker: str


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """Colour and marker of every label, the same for a known strategy in all figures and reports."""
    chosen = {label: Look(*_KNOWN[label]) for label in labels if label in _KNOWN}
    taken = {look.colour for look in chosen.values()}
    free = [colour for colour in _COLOURS if colour not in taken] or list(_COLOURS)
    others = [label for label in labels if label not in chosen]
    fixed = [label for label in others if label.startswith("fixed")]
    for label, shade in zip(fixed, shades(len(fixed))):
        chosen[label] = Look(shade, "h")
    for i, label in enumerate(label for label in others if label not in fixed):
        chosen[label] = Look(free[i % len(free)], _MARKERS[i % len(_MARKERS)])
    return {label: chosen[label] for label in labels}


def family_looks(families: Sequence[str], strategies: Sequence[str]) -> dict[tuple[str, str], Look]:
    """Look of every family and strategy: the colour tells the family, the marker the strategy."""
    colours = (_KNOWN["standard"][0], *_COLOURS)
    return {
        (family, strategy): Look(colours[i % len(colours)], _MARKERS[k % len(_MARKERS)])
        for i, family in enumerate(families)
        for k, strategy in enumerate(strategies)
    }


def shades(count: int) -> list[str]:
    """``count`` colours from dark blue to ochre, even in lightness for every kind of colour vision."""
    spread = [0.0] if count == 1 else [0.82 * i / (count - 1) for i in range(count)]
    return [mpl.colors.to_hex(mpl.colormaps["cividis"](value)) for value in spread]


@contextmanager
def drawing(width: float = WIDTH, height: float = HEIGHT) -> Iterator[tuple[Figure, Axes]]:
    """A figure with one pair of axes in the report's style, the legend below; global state stays as it is."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(width, height))
        axes = figure.add_subplot()
        yield figure, axes
        _legend_below(figure, axes)


@contextmanager
def small_multiples(count: int, size: float = 3.1) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of ``count`` square axes, at most three in a row, in the report's style."""
    columns = min(3, count)
    rows = -(-count // columns)
    with mpl.rc_context(RC):
        figure = Figure(figsize=(size * columns, size * rows))
        grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        for unused in grid[count:]:
            unused.set_axis_off()
        yield figure, grid[:count]
        _legend_below(figure, grid[0])


def quantity(value: float, _: object = None) -> str:
    """A count for people: 950, 28k, 3.4M, 1.2e+15."""
    for limit, unit in ((1e9, ""), (1e6, "M"), (1e3, "k")):
        if unit and value >= limit and value < 1e9:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def log_axis(axes: Axes, which: str, values: Sequence[float]) -> None:
    """Logarithmic axis with plain numbers; ticks at 1, 2, 5 where a decade holds most of the values."""
    positive = [value for value in values if value > 0]
    if not positive:
        return
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(quantity))
    axis.set_minor_formatter(NullFormatter())
    span = max(positive) / min(positive)
    if span < 1.02:
        room = 3.0 if span == 1 else span**2
        low, high = min(positive) / room, max(positive) * room
        (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
        span = high / low
    if span < 2:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        return
    subs = [1.0] if span > 300 else [1.0, 2.0, 5.0] if span > 4 else [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8]
    axis.set_major_locator(LogLocator(subs=subs, numticks=12))


def _legend_below(figure: Figure, axes: Axes) -> None:
    """Legend under the axes, where it hides no point."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        room = figure.get_figwidth() / (HANDLE + CHARACTER * max(map(len, labels)))
        columns = max(1, min(3, len(labels), int(room)))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=1.4)


FORMATS: dict[str, dict[str, None] | None] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": None,
}
"""File formats and the metadata left out, so that equal input gives equal files."""


def save(panel: Panel, folder: Path, formats: Sequence[str] = tuple(FORMATS)) -> None:
    """Write the panel in the given formats, ``<name>.<format>``; PNG has 200 dpi."""
    with mpl.rc_context(RC):
        # The layout is solved once, not for every format.
        panel.figure.draw_without_rendering()
        panel.figure.set_layout_engine("none")
        for kind in formats:
            panel.figure.savefig(folder / f"{panel.name}.{kind}", dpi=200, metadata=FORMATS[kind])


def inline_svg(path: Path, title: str, name: str) -> str:
    """The SVG file as markup for a page: scalable, named for screen readers, ids unique to the figure."""
    text = path.read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    opening = text[: text.index(">")]
    plain = re.sub(r'\s(?:width|height)="[^"]*"', "", opening)
    label = escape(title, {'"': "&quot;"})
    return f'{plain} role="img" aria-label="{label}"{text[len(opening) :]}'
