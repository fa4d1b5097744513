"""From a runs table to the numbers a law is fitted to: checks, refusals, slices, means over seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrieval.run.metric_names import rises_with_quality
from sweeps.diagnostics import Diagnostic, FitRefusedError, TableError, diagnose, require_columns
from sweeps.fitting.laws import Floats, Points, chance_level

SIZE = "size/params_non_embedding"
PAIRS = "size/train_pairs"
NEGATIVES = "eval/negatives"
COMPLEMENT = "1 − "
"""Prefix of the name of a column that holds one minus a metric that rises with quality."""

SAME_LEVEL = 1e-3
"""Values of N (of D) this close, relatively, are one level: seeds may drop a few pairs more or fewer."""

_SELECTION = "eval/selection"

ONE_VALUE = {
    "size/convention": ("MIXED_PARAM_CONVENTION", "parameter-count conventions"),
    NEGATIVES: ("MIXED_NEGATIVES_W", "numbers of negatives W"),
    "eval/pool": ("MIXED_EVALUATION", "evaluation pools"),
    "data/fingerprint": ("MIXED_COLLECTION", "collection fingerprints"),
    "data": ("MIXED_COLLECTION", "collections"),
    "strategy": ("MIXED_STRATEGY", "strategies"),
    "base_strategy": ("MIXED_STRATEGY", "base strategies"),
    "omega/rule": ("MIXED_STRATEGY", "rules for ω"),
    "omega/robust": ("MIXED_STRATEGY", "kinds of robustness data"),
    "omega/mixing": ("MIXED_STRATEGY", "ways to mix the losses"),
}
"""Column that must have one value in a fit -> diagnostic, what the values are."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold model size, training pairs, seed and run name."""

    n: str = SIZE
    d: str = PAIRS
    seed: str = "seed"
    run: str = "run"


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
) -> Runs:
    """Check a table and order its rows.

    Args:
        table: one row a run; see :class:`Columns` for the columns used.
        metric: column to fit; positive, lower is better.
        axes: axes of the law; a law in one axis gets a slice at one value of the other (noted).
        columns: column names.
        chance: chance level of the metric; by default ln(W+1) for a contrastive entropy with known W.
        rising: take metrics that rise with quality too; no law describes them, but they can be interpolated.

    Raises TableError on a missing column, no rows or a value that is not a positive number, and
    FitRefusedError where rows must not share a fit.
    """
    columns = columns or Columns()
    frame = pd.DataFrame(table).reset_index(drop=True)
    if not rising:
        refuse_rising(metric)
    refuse_mixtures(frame, metric)
    needed = [columns.n] * (axes is None or "N" in axes) + [columns.d] * (axes is None or "D" in axes)
    require_columns(frame, metric, *needed)
    if not len(frame):
        raise TableError("the table has no rows; nothing to fit")
    y = positive(frame, metric)
    n = positive(frame, columns.n) if columns.n in needed or columns.n in frame else np.ones(len(frame))
    d = positive(frame, columns.d) if columns.d in needed or columns.d in frame else np.ones(len(frame))
    runs = _order(frame, levels_of(n), levels_of(d), y, columns)
    runs.notes.extend(_selection(frame, metric))
    if axes is not None and len(axes) == 1:
        runs = _slice(runs, axes[0])
    return replace(runs, chance=_chance(frame, metric) if chance is None else chance)


def refuse_rising(metric: str) -> None:
    """Raise TableError on a metric that rises with quality."""
    if rises_with_quality(metric) and not metric.startswith(COMPLEMENT):
        raise TableError(
            f"{metric} rises with quality and has no power law to a floor; "
            "fit a contrastive entropy, or 1 − metric with --complement"
        )


def refuse_mixtures(
    frame: pd.DataFrame,
    metric: str,
    several_strategies: bool = False,
    columns: Collection[str] = tuple(ONE_VALUE),
) -> None:
    """Raise FitRefusedError where rows must not be compared: other collections, pools, negatives.

    ``several_strategies``: rows of different strategies are what is wanted; a fit must have one.
    ``columns``: of ``ONE_VALUE``, those that must have one value.
    """
    for column in columns:
        code, what = ONE_VALUE[column]
        if code == "MIXED_STRATEGY" and several_strategies:
            continue
        if column not in frame or (column == NEGATIVES and "contrastive_entropy" not in metric):
            continue
        values = sorted(map(str, frame[column].dropna().unique()))
        if len(values) > 1:
            shown = ", ".join(values[:4]) + (", …" if len(values) > 4 else "")
            hint = (
                "--by strategy fits each"
                if column == "strategy"
                else f"keep one: --where {column}={values[0]}"
            )
            raise FitRefusedError(code, f"the rows mix {len(values)} {what} ({shown}); {hint}")


def positive(frame: pd.DataFrame, name: str) -> Floats:
    """A column as positive finite float64 [k]; raises TableError naming row and value."""
    values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(wrong):
        row = int(wrong[0])
        value = frame[name].iloc[row]
        shown = repr(value) if isinstance(value, str) else str(value)
        run = f" (run {frame['run'].iloc[row]})" if "run" in frame else ""
        more = f" and {len(wrong) - 1} more rows" if len(wrong) > 1 else ""
        raise TableError(
            f"row {row + 1}{run}: {name} = {shown} is not a positive number{more}; "
            "mend it, or leave such rows out with --drop-invalid"
        )
    return values


def levels_of(values: Floats) -> Floats:
    """Finite values [k] with near-equal ones (:data:`SAME_LEVEL`) replaced by the smallest of their level."""
    if not len(values):
        return values
    distinct = np.unique(values)
    starts = [distinct[0]]
    for value in distinct[1:]:
        if value > starts[-1] * (1 + SAME_LEVEL):
            starts.append(value)
    edges = np.array(starts)
    return edges[np.searchsorted(edges, values, side="right") - 1]


def _order(frame: pd.DataFrame, n: Floats, d: Floats, y: Floats, columns: Columns) -> Runs:
    blank = pd.Series([""] * len(frame))
    seeds = frame.get(columns.seed, blank).astype(str).to_numpy()
    names = frame.get(columns.run, blank).astype(str).to_numpy()
    order = np.lexsort((y, names, seeds, d, n))
    notes = []
    identity = pd.DataFrame({"n": n, "d": d, "y": y, "seed": seeds, "run": names}).iloc[order]
    # Without a seed or a run name, equal rows may be honest repeats of a deterministic measurement.
    repeated = identity.duplicated().to_numpy() & bool(columns.seed in frame or columns.run in frame)
    if repeated.any():
        notes.append(
            diagnose("DUPLICATE_ROWS", f"{int(repeated.sum())} repeated rows of the same run left out")
        )
        order = order[~repeated]
    if columns.run in frame and (again := pd.Series(names[order]).duplicated()).any():
        name = names[order][again.to_numpy()][0]
        raise TableError(f"run {name!r} stands in the table twice with different values; keep one of them")
    pairs = np.stack([n[order], d[order]], axis=1)
    cluster = np.unique(pairs, axis=0, return_inverse=True)[1].ravel()
    # Unique within a configuration, whatever the order of rows.
    places = pd.Series(seeds[order]).groupby([cluster, seeds[order]]).cumcount()
    replicates = [f"{seed}#{place}" for seed, place in zip(seeds[order], places)]
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


def _chance(frame: pd.DataFrame, metric: str) -> float | None:
    if "contrastive_entropy" not in metric or NEGATIVES not in frame:
        return None
    values = pd.to_numeric(frame[NEGATIVES], errors="coerce").dropna()
    return chance_level(int(values.iloc[0])) if len(values) else None
