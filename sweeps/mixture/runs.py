"""From a runs table to the configurations that a mixture law is fitted to: which rows, what must agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweeps.diagnostics import Diagnostic, FitRefusedError, TableError, diagnose, require_columns
from sweeps.fitting import points
from sweeps.fitting.agreement import NEGATIVES, refuse_mixtures, unstated
from sweeps.fitting.laws import Floats
from sweeps.fitting.points import PAIRS, SIZE, Runs, levels_of, positive
from sweeps.fitting.replicates import replicate_labels
from sweeps.mixture.forms import Inputs
from sweeps.mixture.record import Conditions
from sweeps.table.cells import cell_text, is_blank, numbers, row_names, texts_of, with_numbers, with_values
from sweeps.table.families import FAMILY

OMEGA, RULE, ROBUST, MIXING = "omega/final", "omega/rule", "omega/robust", "omega/mixing"
STEPS, PER_STEP = "train/steps", "train/pairs_per_step"

MIN_OMEGAS = 3
"""Levels of ω that a cell must have to be used: two say which is better, not where the best lies."""

_STATED: dict[str, tuple[str, str | None]] = {
    MIXING: ("ways in which ω acts", "steps"),
    "base_strategy": ("base strategies", "standard"),
    ROBUST: ("kinds of robustness data", None),
}
"""Column with one value in the fixed-ω runs -> what its values are, value of runs that do not state it."""

_AGREE = ("size/convention", NEGATIVES, "eval/pool", "data", "data/fingerprint", FAMILY)


@dataclass(frozen=True)
class Cell:
    """One model size and one number of pairs."""

    where: dict[str, Any]
    """Values of the columns that the table was split by."""
    n: float
    d: float


@dataclass(frozen=True)
class Sample:
    """Configurations (a cell and an ω) with both objectives. Seeds of a configuration are replicates."""

    inputs: Inputs
    """One entry a configuration, in order of (N, D, ω)."""
    eff: Runs
    rob: Runs
    cell: NDArray[np.intp]
    """Position in ``cells`` of every configuration."""
    cells: list[Cell]

    def select(self, keep: NDArray[np.bool_]) -> Sample:
        """The configurations where ``keep`` is true; cells keep their numbers."""
        rows = keep[self.eff.cluster]
        part = self.inputs.at(self.inputs.omega[keep], self.inputs.n[keep], self.inputs.d[keep])
        return replace(
            self, inputs=part, eff=self.eff.select(rows), rob=self.rob.select(rows), cell=self.cell[keep]
        )


@dataclass(frozen=True)
class Prepared:
    """What the table gave."""

    sample: Sample
    conditions: Conditions
    n_runs: int
    n_left_out: int
    notes: list[Diagnostic] = field(default_factory=list)


def prepare(table: pd.DataFrame, eff: str, rob: str, by: Sequence[str]) -> Prepared:
    """Select the fixed-ω runs of a table, check that they may share a law, and group them.

    Args:
        table: one row a run, with the columns of ``result.json``. Rows of ``strategy=pareto`` with
            ``omega/rule=fixed`` are used, and those of their base strategy as ω = 0; others are counted.
        eff: column of the first objective, positive, lower is better.
        rob: column of the second.
        by: columns whose values make a cell.

    Raises TableError on a missing column or value, FitRefusedError on rows that must not share a law, on
    no fixed-ω run and on fewer than three levels of ω in every cell.
    """
    require_columns(table, eff, rob, SIZE, PAIRS, STEPS, PER_STEP, "strategy", RULE, OMEGA, *by)
    points.refuse_rising(eff)
    points.refuse_rising(rob)
    _, unknown = with_values(table, ["strategy"])
    rows, stated = _fixed(table)
    rows, left = with_numbers(rows, [eff, rob, SIZE, PAIRS, STEPS, PER_STEP], positive=True)
    if rows.empty:
        out = "; ".join(map(str, left))
        raise TableError(
            f"no fixed-ω run has both {eff} and {rob}; evaluate the runs, or name others ({out})"
        )
    conditions = _conditions(rows, stated)
    refuse_mixtures(rows, eff, columns=[name for name in _AGREE if name in rows])
    rows, nowhere = with_values(rows, by)
    if rows.empty:
        raise TableError(f"no fixed-ω run has a value of {' and '.join(by)}; choose other columns for --by")
    notes = [one.finding for one in (*unknown, *left, *nowhere)] + list(unstated(rows, eff, _AGREE))
    rows, repeats = _distinct(rows, [eff, rob], by)
    rows, few = _enough(rows, by)
    notes += [*repeats, *few]
    sample = _sample(rows, eff, rob, by, conditions)
    return Prepared(sample, conditions, len(rows), len(table) - len(rows), notes)


def _fixed(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str | None]]:
    """Rows with a fixed ω in column ``omega`` (the base strategy's have ω = 0), and what they state."""
    frame = table.copy()
    fixed = (frame["strategy"] == "pareto") & (frame[RULE] == "fixed")
    if not fixed.any():
        have = ", ".join(sorted(set(texts_of(frame["strategy"])) - {""})[:6])
        raise FitRefusedError(
            "NO_FIXED_OMEGA",
            f"no run has strategy=pareto with omega/rule=fixed (strategies: {have}); run "
            "`python train.py -m strategy=pareto strategy.rule=fixed strategy.omega=0.1,0.25,0.5`",
        )
    stated = {column: _one_value(frame[fixed], column) for column in _STATED}
    # Under steps, ω = 0 is the base strategy to the bit; under loss it is another treatment.
    zero = (frame["strategy"] == stated["base_strategy"]) & (stated[MIXING] == "steps")
    frame["omega"] = np.where(fixed, numbers(frame[OMEGA]), 0.0)
    rows = frame[fixed | zero]
    wrong = rows[~rows["omega"].between(0.0, 1.0)]
    if len(wrong):
        (name, *_), value = row_names(wrong), cell_text(wrong.iloc[0][OMEGA]) or "blank"
        raise TableError(f"{name}: {OMEGA} = {value} is not a number from 0 to 1; mend it or leave it out")
    return rows, stated


def _one_value(fixed: pd.DataFrame, column: str) -> str | None:
    """The one value of a column of :data:`_STATED` in the fixed-ω rows, or what runs without one mean."""
    what, default = _STATED[column]
    stated = fixed[column] if column in fixed else pd.Series(dtype=object)
    texts = set(texts_of(stated))
    values = sorted({text or str(default) for text in texts} if column == MIXING else texts - {""})
    if len(values) > 1:
        option = f"--where {column}={default if column == MIXING else values[0]},"
        raise FitRefusedError(
            "MIXED_STRATEGY",
            f"the fixed-ω runs mix {len(values)} {what} ({', '.join(values)}); keep one: {option} "
            "(the comma keeps the runs without one, those at ω = 0)",
        )
    return values[0] if values else default


def _conditions(rows: pd.DataFrame, stated: dict[str, str | None]) -> Conditions:
    """The training conditions that the law holds for; each has one value or the table is refused."""
    budget = []
    for column in (STEPS, PER_STEP):
        values = np.unique(levels_of(positive(rows, column)))
        if len(values) > 1:
            shown = ", ".join(f"{value:g}" for value in values[:4]) + (", …" if len(values) > 4 else "")
            raise FitRefusedError(
                "MIXED_BUDGET",
                f"the runs have {len(values)} values of {column} ({shown}), and a law holds for one; "
                f"choose with --where {column}={values[-1]:g}",
            )
        budget.append(float(values[0]))
    data = rows["data"].dropna() if "data" in rows else pd.Series(dtype=str)
    return Conditions(
        train_steps=int(budget[0]),
        pairs_per_step=budget[1],
        robust=stated[ROBUST],
        base_strategy=stated["base_strategy"],
        data=str(data.iloc[0]) if len(data) else None,
        mixing=str(stated[MIXING]),
    )


def _distinct(
    rows: pd.DataFrame, metrics: list[str], by: Sequence[str]
) -> tuple[pd.DataFrame, list[Diagnostic]]:
    """Rows without repeats of one measurement: ω = 0 may stand there as ``standard`` and as fixed ω."""
    if "seed" not in rows:
        return rows, []
    notes = []
    key = [*by, "omega", "seed"]
    seeded = ~is_blank(rows["seed"])
    same = rows.duplicated([*key, *metrics]) & seeded
    if same.any():
        text = f"{int(same.sum())} runs repeat another one's measurement and are left out"
        notes.append(diagnose("DUPLICATE_ROWS", text))
    rows, seeded = rows[~same], seeded[~same]
    again = rows[rows.duplicated(key, keep=False) & seeded]
    if len(again):
        first = again.iloc[0]
        where = ", ".join(f"{name} {first[name]}" for name in by)
        text = f"{len(again)} runs share cell, ω and seed with another but not the result, first at "
        notes.append(diagnose("MIXED_SETTINGS", f"{text}{where}, ω={first['omega']:g}, seed {first['seed']}"))
    return rows, notes


def _enough(rows: pd.DataFrame, by: Sequence[str]) -> tuple[pd.DataFrame, list[Diagnostic]]:
    """Rows of cells with at least three levels of ω; the others are named."""
    rows = rows.assign(omega=rows["omega"].round(6))
    grouped = rows.groupby(list(by), sort=True)["omega"] if by else None
    counts = grouped.transform("nunique") if grouped is not None else rows["omega"].nunique()
    keep = pd.Series(counts >= MIN_OMEGAS, index=rows.index)
    if not keep.any():
        most = int(np.max(counts))
        raise FitRefusedError(
            "FEWER_THAN_3_OMEGAS",
            f"no cell has {MIN_OMEGAS} levels of ω (the best has {most}); run "
            "`python train.py -m strategy=pareto strategy.rule=fixed strategy.omega=0.1,0.25,0.5` at each",
        )
    if keep.all():
        return rows, []
    cells = rows.loc[~keep, list(by)].drop_duplicates().astype(str).agg(" ".join, axis=1)
    shown = "; ".join(cells.iloc[:4]) + ("; …" if len(cells) > 4 else "")
    text = f"{len(cells)} cells have fewer than {MIN_OMEGAS} levels of ω and are left out: {shown}"
    return rows[keep], [diagnose("FEWER_THAN_3_OMEGAS", text)]


def _sample(rows: pd.DataFrame, eff: str, rob: str, by: Sequence[str], conditions: Conditions) -> Sample:
    n, d = levels_of(positive(rows, SIZE)), levels_of(positive(rows, PAIRS))
    columns = [texts_of(rows[name]) for name in by]
    # pandas 2 groups texts by what stands before a NUL.
    keys = pd.Series(["\x1f".join(row) for row in zip(*columns)] if by else "", index=rows.index)
    _one_size(rows, keys, n, d, by)
    seeds = texts_of(rows["seed"]) if "seed" in rows else np.full(len(rows), "", dtype=object)
    order = np.lexsort((positive(rows, eff), seeds, rows["omega"], d, n))
    rows, n, d, keys = rows.iloc[order].reset_index(drop=True), n[order], d[order], keys.iloc[order]
    place = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    own = np.array([place[key] for key in keys], dtype=np.intp)
    omega = rows["omega"].to_numpy(float)
    _, first, cluster = np.unique(np.stack([own, omega]), axis=1, return_index=True, return_inverse=True)
    cluster = cluster.ravel()
    seen = conditions.train_steps * conditions.pairs_per_step
    n0, d0 = (float(np.exp(np.log(values[first]).mean())) for values in (n, d))
    inputs = Inputs(omega[first], n[first], d[first], seen, n0, d0)
    labels = replicate_labels(rows, seeds[order], cluster)
    parts = [
        Runs(n, d, np.log(positive(rows, metric)), cluster, labels, order, None) for metric in (eff, rob)
    ]
    cells = []
    for key in place:
        at = int(np.flatnonzero(keys.to_numpy() == key)[0])
        cells.append(Cell({name: rows[name].iloc[at] for name in by}, float(n[at]), float(d[at])))
    return Sample(inputs, parts[0], parts[1], own[first], cells)


def _one_size(rows: pd.DataFrame, keys: pd.Series, n: Floats, d: Floats, by: Sequence[str]) -> None:
    """A cell is one N and one D."""
    for name, values in ((SIZE, n), (PAIRS, d)):
        spread = pd.Series(values).groupby(keys.to_numpy()).agg(["min", "max"])
        wide = spread[spread["max"] > spread["min"] * (1 + points.SAME_LEVEL)]
        if len(wide):
            cell, low, high = wide.index[0].replace("\x1f", " "), *wide.iloc[0]
            raise FitRefusedError(
                "MIXED_CELL",
                f"cell {cell or 'all'} (--by {','.join(by) or '…'}) holds several {name} ({low:g}, {high:g})"
                "; name the columns that tell its runs apart in --by",
            )
