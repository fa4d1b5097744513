"""From a runs table to the numbers a law is fitted to: checks, refusals, slices, means over seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrieval.run.metric_names import is_harm_share, rises_with_quality
from sweeps.diagnostics import Diagnostic, TableError, diagnose, require_columns
from sweeps.fitting.agreement import NEGATIVES, judged, refuse_mixtures, unstated
from sweeps.fitting.laws import Floats, Points, chance_level
from sweeps.fitting.replicates import identify, refuse_settings, replicate_labels
from sweeps.table.cells import checked, is_blank
from sweeps.table.families import FAMILY

SIZE = "size/params_non_embedding"
PAIRS = "size/train_pairs"
COMPLEMENT = "1 − "
"""Prefix of the name of a column that holds one minus a metric that rises with quality."""

SAME_LEVEL = 1e-3
"""Values of N (of D) this close, relatively, are one level: seeds may drop a few pairs more or fewer."""

_SELECTION = "eval/selection"


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold model size, training pairs, seed and run name.

    A column named here has this meaning alone, whatever its name says elsewhere.
    """

    n: str = SIZE
    d: str = PAIRS
    seed: str = "seed"
    run: str = "run"

    def read(self, frame: pd.DataFrame, axes: Collection[str] | None = None) -> list[str]:
        """The columns of N and D that a law in ``axes`` reads: its own, and the other where it is filled."""
        every = (("N", self.n), ("D", self.d))
        needed = [name for axis, name in every if axes is None or axis in axes]
        also = [name for _, name in every if name in frame and not is_blank(frame[name]).all()]
        return list(dict.fromkeys([*needed, *also]))


@dataclass(frozen=True)
class Runs:
    """Checked rows in a canonical order (size, pairs, seed, run), whatever the order of the table."""

    n: Floats
    d: Floats
    log_y: Floats
    cluster: NDArray[np.intp]
    """Configuration of every row; 0 … m−1 in order of (N, D)."""
    replicate: list[str]
    """Seed (or position) of every row within its configuration."""
    rows: NDArray[np.intp]
    """Position of every row in the table it came from."""
    chance: float | None = None
    notes: list[Diagnostic] = field(default_factory=list)
    independent: bool = False
    """Whether every row is its own configuration (seeds treated as independent points)."""

    def size(self, axis: str) -> Floats:
        """N or D of every row, [k]."""
        return self.n if axis == "N" else self.d

    @property
    def counts(self) -> NDArray[np.intp]:
        """Number of rows of each configuration, [m]."""
        return np.bincount(self.cluster)

    def first(self) -> NDArray[np.intp]:
        """Position of one row of each configuration, [m]."""
        return np.unique(self.cluster, return_index=True)[1]

    def means(self) -> Floats:
        """Mean ln metric of each configuration, [m]."""
        return np.bincount(self.cluster, self.log_y) / self.counts

    def seed_variance(self) -> tuple[float, int]:
        """Pooled variance of ln metric within configurations and its degrees of freedom (0: no repeats)."""
        freedom = len(self.log_y) - len(self.counts)
        within = float(((self.log_y - self.means()[self.cluster]) ** 2).sum())
        return (within / freedom if freedom else 0.0), freedom

    def points(self, between: float = 0.0) -> Points:
        """Configuration means weighted by 1/(between + seed variance / seeds).

        ``between`` is the variance of configurations about the law that seeds do not explain. Pooled
        seed variance is used because two to five seeds say too little about one configuration's own.
        """
        noise, _ = self.seed_variance()
        spread = between + noise / self.counts
        weight = 1.0 / spread if noise > 0 else np.ones(len(self.counts))
        index = self.first()
        return Points.of(np.log(self.n[index]), np.log(self.d[index]), self.means(), weight)

    def select(self, keep: NDArray[np.bool_]) -> Runs:
        """The rows where ``keep`` [k], configurations renumbered."""
        cluster = np.unique(self.cluster[keep], return_inverse=True)[1]
        return replace(
            self,
            n=self.n[keep],
            d=self.d[keep],
            log_y=self.log_y[keep],
            cluster=cluster,
            replicate=[label for label, kept in zip(self.replicate, keep) if kept],
            rows=self.rows[keep],
        )


def prepare(
    table: pd.DataFrame | Mapping[str, Any],
    metric: str,
    axes: tuple[str, ...] | None = None,
    columns: Columns | None = None,
    chance: float | None = None,
    rising: bool = False,
    average: bool = True,
) -> Runs:
    """Check a table and order its rows.

    Args:
        table: one row a run; see :class:`Columns` for the columns used.
        metric: column to fit; positive, lower is better.
        axes: axes of the law; a law in one axis gets a slice at one value of the other (noted).
        columns: column names.
        chance: chance level of the metric; by default ln(W+1) for a contrastive entropy with known W, and 1
            for the share of an attack's attempts that do harm.
        rising: take metrics that rise with quality too; no law describes them, but they can be interpolated.
        average: whether the rows of one N and D will be averaged; then they must be replicates.

    Raises TableError on a missing column, no rows or a value that is not a positive number, and
    FitRefusedError where rows must not share a fit.
    """
    columns = columns or Columns()
    frame = pd.DataFrame(table)
    if not rising:
        refuse_rising(metric)
    agreeing = judged(frame, columns.d, (metric, columns.n, columns.d, columns.seed))
    refuse_mixtures(frame, metric, columns=agreeing, by=FAMILY)
    read = columns.read(frame, axes)
    require_columns(frame, metric, *read)
    if not len(frame):
        raise TableError("the table has no rows; nothing to fit")
    y = positive(frame, metric)
    n, d = (
        levels_of(positive(frame, name)) if name in read else np.ones(len(frame))
        for name in (columns.n, columns.d)
    )
    chance = _chance(frame, metric) if chance is None else _sound_chance(chance, y, metric)
    runs = _order(frame, metric, (n, d, y), columns, average)
    runs.notes.extend([*_selection(frame, metric), *unstated(frame, metric, agreeing)])
    if axes is not None and len(axes) == 1:
        runs = _slice(runs, axes[0])
    return replace(runs, chance=chance)


def refuse_rising(metric: str) -> None:
    """Raise TableError on a metric that rises with quality."""
    if rises_with_quality(metric) and not metric.startswith(COMPLEMENT):
        raise TableError(
            f"{metric} rises with quality and has no power law to a floor; "
            "fit a contrastive entropy, or 1 − metric with --complement"
        )


def positive(frame: pd.DataFrame, name: str) -> Floats:
    """A column as positive finite float64 [k]; raises TableError naming row and value."""
    return checked(frame, name, True, "mend it, or leave such rows out (fit and sensitivity: --drop-invalid)")


def levels_of(values: Floats, tolerance: float = SAME_LEVEL) -> Floats:
    """Finite values [k], those that ``tolerance`` makes equal (relatively) by the smallest of their level."""
    if not len(values):
        return values
    distinct = np.unique(values)
    starts = [distinct[0]]
    for value in distinct[1:]:
        if value > starts[-1] * (1 + tolerance):
            starts.append(value)
    edges = np.array(starts)
    return edges[np.searchsorted(edges, values, side="right") - 1]


def _order(
    frame: pd.DataFrame, metric: str, values: tuple[Floats, Floats, Floats], columns: Columns, average: bool
) -> Runs:
    """Rows without repeats in canonical order; ``values`` are N, D and the metric."""
    n, d, y = values
    roles = {columns.n, columns.d, columns.seed, metric}
    found = identify(
        frame, np.stack([n, d], axis=1), columns.seed, "" if columns.run in roles else columns.run
    )
    seeds, names, notes = found.seed, found.run, list(found.notes)
    order = np.lexsort((y, names, seeds, d, n))
    identity = pd.DataFrame({"n": n, "d": d, "y": y, "seed": seeds, "run": names}).iloc[order]
    # Without a seed or a run name, equal rows may be honest repeats of a deterministic measurement.
    repeated = identity.duplicated().to_numpy() & ((seeds != "") | (names != ""))[order]
    if repeated.any():
        notes.append(
            diagnose("DUPLICATE_ROWS", f"{int(repeated.sum())} repeated rows of the same run left out")
        )
        order = order[~repeated]
    named = names[order]
    if (again := pd.Series(named).duplicated().to_numpy() & (named != "")).any():
        raise TableError(
            f"run {named[again][0]!r} stands in the table twice with different values; keep one of them, or "
            "name another column of run names with --run-column ('' for none)"
        )
    pairs = np.stack([n[order], d[order]], axis=1)
    rows = frame.iloc[order]
    if average:
        refuse_settings(rows, pairs, seeds[order], {*roles, columns.run})
    cluster = np.unique(pairs, axis=0, return_inverse=True)[1].ravel()
    replicates = replicate_labels(rows, seeds[order], cluster)
    return Runs(n[order], d[order], np.log(y[order]), cluster, replicates, order, None, notes)


def _slice(runs: Runs, axis: str) -> Runs:
    """Rows at the one value of the other axis that has the most levels of ``axis`` (the largest of ties)."""
    other = "D" if axis == "N" else "N"
    along, across = runs.size(axis), runs.size(other)
    values = np.unique(across)
    if len(values) == 1:
        return runs
    levels = [len(np.unique(along[across == value])) for value in values]
    best = values[len(values) - 1 - int(np.argmax(levels[::-1]))]
    kept = runs.select(across == best)
    text = f"law in {axis} alone: fitted to the {len(kept.n)} of {len(runs.n)} rows with {other} = {best:.6g}"
    return replace(kept, notes=[*kept.notes, diagnose("SLICE_USED", text)])


def _selection(frame: pd.DataFrame, metric: str) -> Iterator[Diagnostic]:
    """SELECTED_ON_TEST where the table says so, or the metric is an extremum over training."""
    stated = frame[_SELECTION].astype(str) if _SELECTION in frame else pd.Series([], dtype=str)
    chosen = int((stated.str.lower() == "test").sum())
    parts = metric.lower().replace(".", "/").replace("_", "/").split("/")
    if chosen:
        yield diagnose("SELECTED_ON_TEST", f"{chosen} runs state {_SELECTION} = test")
    elif {"best", "min"} & set(parts):
        text = f"{metric} is the best value met during training, chosen on the test set"
        yield diagnose("SELECTED_ON_TEST", text)


def _sound_chance(chance: float, y: Floats, metric: str) -> float:
    """The chance level as given; TableError where it cannot be one."""
    if not (np.isfinite(chance) and chance > y.min()):
        raise TableError(
            f"--chance {chance:g} is no chance level: every {metric} is as high or higher (the lowest is "
            f"{y.min():.6g}); give the value of guessing, ln(W+1) for a contrastive entropy"
        )
    return chance


def _chance(frame: pd.DataFrame, metric: str) -> float | None:
    """Of no knowledge: ln(W+1) of a contrastive entropy; of a share of harm 1, if all runs are below."""
    if is_harm_share(metric):
        return 1.0 if float(positive(frame, metric).max()) < 1 else None
    if "contrastive_entropy" not in metric or NEGATIVES not in frame:
        return None
    stated = frame[~is_blank(frame[NEGATIVES])]
    return chance_level(int(positive(stated, NEGATIVES)[0])) if len(stated) else None
