"""A matrix of changes as a map of colours: blue helps, red harms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes

from sweeps.table.cells import Floats


def draw_matrix(
    axes: Axes,
    values: Floats,
    most: float,
    texts: Iterable[tuple[int, int, str]],
    names: tuple[Sequence[str], Sequence[str]],
    colours: str = "RdBu_r",
) -> None:
    """Draw float64[rows, columns]; cells without a finite value stay white.

    ``most``: the change at which two thirds of the colours are used, so that text stays readable on them;
    ``texts``: row, column and what is written there; ``names``: of rows and columns.
    """
    rows, columns = names
    axes.imshow(values, cmap=colours, vmin=-1.5 * most, vmax=1.5 * most, aspect="auto")
    for row, column, text in texts:
        axes.text(column, row, text, ha="center", va="center")
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(visible=False)
