"""Model families held against each other as the record written to ``families.json``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from retrieval.errors import ConfigError, DataError
from sweeps import Progress
from sweeps.comparison.cells import without_seed
from sweeps.comparison.families import equal as equality
from sweeps.comparison.families import exponents as slopes
from sweeps.comparison.families.record import Counted, Families, Gap, Law, SlopeTest, Tradeoff
from sweeps.comparison.families.shift import shifts
from sweeps.comparison.families.tradeoff import MIN_CONFIGURATIONS, tradeoffs
from sweeps.diagnostics import Diagnostic, diagnose, require_columns
from sweeps.fitting.agreement import ONE_VALUE, refuse_mixtures
from sweeps.fitting.configurations import FLOPS, label_order, label_runs, labelled_only
from sweeps.fitting.points import PAIRS, SIZE, levels_of
from sweeps.fitting.result import FitOptions
from sweeps.frontier.trace import EFFECTIVENESS, ROBUSTNESS
from sweeps.table.cells import LeftOut, is_blank, texts_of, with_numbers
from sweeps.table.families import FAMILY, first_stages_of, in_order

SAMPLED = ("eval/queries", "eval/draws")
"""Columns whose values say how precisely a run was measured."""


@dataclass(frozen=True)
class FamiliesOptions:
    """What is compared and how; all of it is written to ``families.json``."""

    metrics: tuple[str, str] = (EFFECTIVENESS, ROBUSTNESS)
    """Effectiveness and robustness."""
    strategies: tuple[str, ...] = ()
    """Labels; by default all that two families or more were run with."""
    law: str = "auto"
    tolerance: float = 0.05
    """Sizes this close, relatively, are equal."""
    fit: FitOptions = field(default_factory=lambda: FitOptions(bootstrap=500))


def families(
    runs: pd.DataFrame, options: FamiliesOptions | None = None, progress: Progress | None = None
) -> Families:
    """Compare the families of a table of runs.

    Args:
        runs: one row a run with the columns of ``result.json``; runs without ``model_family`` are dual
            encoders, and runs without both metrics, N and D are left out and named.
        options: what is compared.
        progress: called with (done, total) laws.

    Raises DataError: fewer than two families, or no strategy in two of them; ConfigError: unknown strategy
    or law; TableError: unknown metric; FitRefusedError: rows that must not be compared, such as rankings of
    different first stages.
    """
    options = options or FamiliesOptions()
    rows, left = _rows(runs, options)
    names, strategies = in_order(rows), _strategies(rows, options)
    level = options.fit.level
    laws: list[Law] = []
    tests: list[SlopeTest] = []
    gaps: list[Gap] = []
    said: list[Diagnostic] = []
    todo = [(strategy, metric) for strategy in strategies for metric in options.metrics]
    for done, (strategy, metric) in enumerate(todo):
        part = rows[rows["label"] == strategy]
        found, tested, notes = slopes.exponents(part, names, strategy, metric, options.law, options.fit)
        laws, tests, said = laws + found, tests + tested, said + notes
        for pair in _pairs(part):
            question = equality.Question(strategy, metric, pair, options.tolerance, level)
            compared, notes = equality.at_equal(part, question)
            gaps, said = gaps + compared, said + notes
        if progress is not None:
            progress(done + 1, len(todo))
    gaps = equality.corrected(gaps, level)
    by = tuple(name for name in ("model", "frac") if name in rows and not is_blank(rows[name]).any())
    reference, frontiers, cells = _frontiers(rows, by, options)
    warnings = [*(one.finding for one in left), *without_seed(rows), *_sampled(rows), *_seeds(gaps), *said]
    return Families(
        families={name: _counted(rows[rows[FAMILY] == name]) for name in names},
        metrics=list(options.metrics),
        strategies=strategies,
        tolerance=options.tolerance,
        level=level,
        method=slopes.METHOD,
        laws=laws,
        tests=slopes.corrected(tests, level),
        equal=gaps,
        reference=reference,
        frontiers=frontiers,
        cells=cells,
        shifts=shifts(rows, options.metrics, by, options.fit),
        warnings=list({(item.code, item.message): item for item in warnings}.values()),
    )


def _rows(runs: pd.DataFrame, options: FamiliesOptions) -> tuple[pd.DataFrame, list[LeftOut]]:
    """Labelled rows with both metrics, N and D as numbers, and sizes as levels; and those left out."""
    require_columns(runs, *options.metrics, SIZE, PAIRS)
    labelled, unknown = labelled_only(label_runs(runs))
    rows, lacking = with_numbers(labelled, [*options.metrics, SIZE, PAIRS], positive=True)
    names = in_order(rows)
    if len(names) < 2:
        have = f"have one model family ({names[0]})" if names else "have no row with both metrics"
        raise DataError(f"the runs {have}; run a second one with model.family=NAME")
    kept = [column for column in ONE_VALUE if column != FAMILY]
    for metric in options.metrics:
        refuse_mixtures(rows, metric, several_strategies=True, columns=kept)
    sizes, pairs = rows[SIZE].to_numpy(float), rows[PAIRS].to_numpy(float)
    rows = rows.assign(**{equality.LEVEL: levels_of(sizes, options.tolerance), PAIRS: levels_of(pairs)})
    return rows, [*unknown, *lacking]


def _strategies(rows: pd.DataFrame, options: FamiliesOptions) -> list[str]:
    counts = rows.groupby("label")[FAMILY].nunique()
    for name in options.strategies:
        if name not in counts:
            raise ConfigError(f"--strategy {name}: no such runs; the table has {', '.join(counts.index)}")
    wanted = options.strategies or tuple(counts.index)
    found = sorted((name for name in wanted if counts[name] > 1), key=label_order)
    if not found:
        raise DataError(f"no strategy was run in two families ({', '.join(wanted)}); run one in both")
    return found


def _pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    names = in_order(rows)
    return [(first, second) for k, first in enumerate(names) for second in names[k + 1 :]]


def _counted(part: pd.DataFrame) -> Counted:
    ranges = {}
    for name, column in (("N", SIZE), ("D", PAIRS), ("FLOPs", FLOPS)):
        values = part[column].to_numpy(float) if column in part else np.array([np.nan])
        if np.isfinite(values).any():
            ranges[name] = (float(np.nanmin(values)), float(np.nanmax(values)))
    return Counted(len(part), ranges, ", ".join(sorted(set(first_stages_of(part)))))


def _frontiers(
    rows: pd.DataFrame, by: tuple[str, ...], options: FamiliesOptions
) -> tuple[list[float], list[Tradeoff], list[Tradeoff]]:
    metrics, seed, level = options.metrics, options.fit.seed, options.fit.level
    reference, each = tradeoffs(rows, metrics, (FAMILY,), seed, level)
    order = in_order(rows)
    each.sort(key=lambda one: order.index(one.family))
    cells = tradeoffs(rows, metrics, (FAMILY, *by), seed, level)[1] if by else []
    return reference, each, [cell for cell in cells if cell.n_configs >= MIN_CONFIGURATIONS]


def _sampled(rows: pd.DataFrame) -> Iterator[Diagnostic]:
    """EVALUATION_DIFFERS where families were measured on different numbers of queries or draws."""
    for column in SAMPLED:
        if column not in rows:
            continue
        found = {
            name: ", ".join(sorted(set(texts_of(rows.loc[rows[FAMILY] == name, column])) - {""}))
            for name in in_order(rows)
        }
        if len(set(found.values())) > 1:
            text = "; ".join(f"{name} {value or 'not stated'}" for name, value in found.items())
            yield diagnose("EVALUATION_DIFFERS", f"{column}: {text}")


def _seeds(gaps: Sequence[Gap]) -> Iterator[Diagnostic]:
    """Which comparisons have no interval, or are not paired."""
    for method, code, text in (
        ("none", "SINGLE_SEED", "difference without interval"),
        ("unpaired", "SEEDS_NOT_SHARED", "families have different seeds, compared unpaired"),
    ):
        for pair in dict.fromkeys((gap.first, gap.second) for gap in gaps if gap.method == method):
            count = sum(gap.method == method and (gap.first, gap.second) == pair for gap in gaps)
            yield diagnose(code, f"{text}: {count} comparisons of {pair[0]} and {pair[1]}")
