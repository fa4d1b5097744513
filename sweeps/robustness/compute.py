"""Statistics of every kind of test: mixed model, paired differences and win probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from retrieval.errors import ConfigError
from retrieval.run.metric_names import CONTRASTIVE_ENTROPY, larger_is_better
from sweeps import Progress
from sweeps.comparison.cells import holm, without_seed
from sweeps.diagnostics import Diagnostic, TableError, diagnose, require_columns
from sweeps.fitting.agreement import refuse_mixtures
from sweeps.fitting.configurations import label_runs, labelled_only
from sweeps.robustness.model import mixed_model
from sweeps.robustness.pairs import RUN, Pairs, group_column, groups, ordered, pair
from sweeps.robustness.record import Difference, KindStatistics, Robustness, Win
from sweeps.robustness.resampling import Contrast, Draws, draw, run_weights
from sweeps.robustness.scores import MAX_QUERIES, Kind, load_scores
from sweeps.robustness.words import effect_words
from sweeps.table.cells import Floats

MAX_GROUPS = 40
"""Groups are compared each with each, and a matrix of more is not read."""

FEW_COLLECTIONS = 5

STANDARD = "standard"


@dataclass(frozen=True)
class RobustnessOptions:
    """What is compared and how."""

    metric: str = CONTRASTIVE_ENTROPY
    by: str = "strategy"
    baseline: str | None = None
    """The group that others are held against; ``None``: ``standard``, else the first."""
    kinds: tuple[str, ...] = ()
    """Names of kinds to analyse; all that were measured where there are none."""
    level: float = 0.95
    bootstrap: int = 1000
    seed: int = 0
    max_queries: int = MAX_QUERIES


def robustness(
    runs: pd.DataFrame,
    folder: Path,
    options: RobustnessOptions | None = None,
    progress: Progress | None = None,
) -> Robustness:
    """The record written to ``robustness.json``.

    Args:
        runs: one row a run with the columns of ``result.json``.
        folder: where the run directories lie.
        options: what is compared.
        progress: called with (done, total) files read.

    Raises ConfigError: an option names what is not there; TableError: no per-query scores; FitRefusedError:
    numbers of negatives or first stages differ.
    """
    options = options or RobustnessOptions()
    require_columns(runs, RUN)
    labelled, left = labelled_only(label_runs(runs))
    refuse_mixtures(labelled, options.metric, columns=("eval/negatives", "eval/first_stage"))
    of = groups(labelled, options.by)
    labelled = labelled[of != ""]
    names = ordered(of.tolist())
    if len(names) > MAX_GROUPS:
        raise ConfigError(
            f"--by {options.by}: {len(names)} groups are more than the {MAX_GROUPS} that are compared; "
            "keep fewer with --where"
        )
    baseline = _baseline(names, options)
    loaded = load_scores(
        labelled,
        folder,
        options.metric,
        max_queries=options.max_queries,
        seed=options.seed,
        progress=progress,
    )
    chosen = _chosen(loaded.kinds, options.kinds)
    said = [*(rows.finding for rows in left), *without_seed(labelled), *loaded.findings]
    found = []
    for kind in chosen:
        about, warnings = statistics(kind, baseline, options)
        found.append(about)
        said += warnings
    return Robustness(
        metric=options.metric,
        by=options.by,
        baseline=baseline,
        level=options.level,
        bootstrap=options.bootstrap,
        seed=options.seed,
        correction="Holm, over the effects, differences or wins of each kind",
        kinds=found,
        warnings=said,
    )


def _baseline(names: Sequence[str], options: RobustnessOptions) -> str:
    if options.baseline is None:
        return STANDARD if STANDARD in names else names[0]
    if options.baseline not in names:
        raise ConfigError(
            f"--baseline {options.baseline}: no such runs; --by {options.by} has {', '.join(names)}"
        )
    return options.baseline


def _chosen(kinds: Sequence[Kind], wanted: Sequence[str]) -> list[Kind]:
    names = [kind.name for kind in kinds]
    for name in wanted:
        if name not in names:
            raise ConfigError(f"--kind {name}: the runs have no such scores; they have {', '.join(names)}")
    if not kinds:
        raise TableError("the runs share no query of any set; keep runs of one evaluation with --where")
    return [kind for kind in kinds if not wanted or kind.name in wanted]


def statistics(
    kind: Kind, baseline: str, options: RobustnessOptions
) -> tuple[KindStatistics, list[Diagnostic]]:
    """All about one kind, and what is doubtful; arguments and errors as :func:`robustness`."""
    reference = baseline if group_column(options.by) == "label" else STANDARD
    mixed, said = mixed_model(kind, options.metric, reference, options.level)
    queries = {name: matrix.shape[1] for name, matrix in kind.scores.items()}
    if 1 < len(queries) < FEW_COLLECTIONS:
        text = f"{kind.name}: intervals over collections are drawn from {len(queries)} ({', '.join(queries)})"
        said.append(diagnose("FEW_DOMAINS", text))
    draws = draw(queries, max(options.bootstrap, 1), options.seed)
    compared = _Compared(kind, options, draws)
    differences = compared.differences(baseline)
    wins = compared.wins()
    return (
        KindStatistics(kind.name, len(kind.runs), queries, mixed, differences, wins),
        [*said, *compared.findings(baseline)],
    )


def _swapped(first: Floats, second: Floats) -> Floats:
    return second - first


class _Compared:
    """The groups of one kind, each with each."""

    def __init__(self, kind: Kind, options: RobustnessOptions, draws: Draws) -> None:
        self._kind, self._options, self._draws = kind, options, draws
        self._of = groups(kind.runs, options.by) if len(kind.runs) > 1 else np.array([""], dtype=object)
        self._names = ordered(self._of.tolist())
        self._pairs = {
            two: pair(kind.runs, self._of, options.by, *two) for two in combinations(self._names, 2)
        }

    def differences(self, baseline: str) -> list[Difference]:
        """Every group less the baseline."""
        found = []
        for two, pairs in self._pairs.items():
            if baseline not in two or not pairs.cells:
                continue
            other = two[1] if two[0] == baseline else two[0]
            contrast = self._contrast(pairs, np.subtract if other == two[0] else _swapped)
            if contrast is not None:
                found.append(self._difference(other, baseline, contrast, pairs))
        adjusted = holm([one.p for one in found])
        return [
            replace(one, p_holm=p, words=self._words(one, p))
            for one, p in zip(found, (1.0 if p is None else p for p in adjusted))
        ]

    def wins(self) -> list[Win]:
        """How often the first of two groups is better, for all of them."""
        rising, level = larger_is_better(self._options.metric), self._options.level

        def better(a: Floats, b: Floats) -> Floats:
            return np.where(a == b, 0.5, ((a > b) == rising).astype(np.float64))

        found = []
        for two, pairs in self._pairs.items():
            contrast = self._contrast(pairs, better) if pairs.cells else None
            if contrast is not None:
                drawn = self._drawn(contrast, pairs, moving=False)
                ends, p = contrast.inference(drawn, level, null=0.5)
                low, high = (min(max(end, 0.0), 1.0) for end in ends)
                found.append(Win(*two, contrast.mean(), low, high, p, p))
        adjusted = holm([one.p for one in found])
        return [replace(one, p_holm=1.0 if p is None else p) for one, p in zip(found, adjusted)]

    def findings(self, baseline: str) -> list[Diagnostic]:
        """Groups without a common cell, runs without a partner, and cells of one seed."""
        own = {two: pairs for two, pairs in self._pairs.items() if baseline in two}
        name, found = self._kind.name, []
        apart = [" and ".join(two) for two, pairs in own.items() if not pairs.cells]
        if apart:
            text = f"{name}: no cell (data, family, model, fraction) and seed in common: {'; '.join(apart)}"
            found.append(diagnose("CELLS_LEFT_OUT", text))
        lone = {" and ".join(two): pairs.lone for two, pairs in own.items() if pairs.cells and pairs.lone}
        if lone:
            shown = "; ".join(f"{two}: {count} runs" for two, count in lone.items())
            found.append(diagnose("SEEDS_NOT_SHARED", f"{name}: without a partner and left out: {shown}"))
        single = [two for two, pairs in own.items() if pairs.cells and np.bincount(pairs.cell).min() < 2]
        if single and self._options.by != RUN:
            text = f"{name}: a cell has one pair of seeds, whose noise is in no interval"
            found.append(diagnose("SINGLE_SEED", text))
        return found

    def _contrast(self, pairs: Pairs, value: Callable[[Floats, Floats], Floats]) -> Contrast | None:
        """``value`` of the scores of every pair at every query; ``None`` where no pair has a collection."""
        values, measured = {}, {}
        for name, matrix in self._kind.scores.items():
            has = self._kind.measured(name)
            both = has[pairs.first] & has[pairs.second]
            if both.any():
                values[name] = value(matrix[pairs.first[both]], matrix[pairs.second[both]])
                measured[name] = both
        return Contrast(values, measured, pairs.cell) if values else None

    def _drawn(self, contrast: Contrast, pairs: Pairs, moving: bool) -> Floats:
        count = self._draws.count
        runs = run_weights(pairs.cell, count, self._options.seed)
        if moving:
            return contrast.draws(runs, self._draws.moving, 1.0)
        return contrast.draws(runs, self._draws.fixed, 1 / len(contrast.values))

    def _difference(self, first: str, second: str, contrast: Contrast, pairs: Pairs) -> Difference:
        level, moving = self._options.level, None
        ends, p = contrast.inference(self._drawn(contrast, pairs, moving=False), level)
        if len(contrast.values) == len(self._kind.scores) > 1:
            moving, _ = contrast.inference(self._drawn(contrast, pairs, moving=True), level)
        mean, count = contrast.mean(), len(pairs.first)
        return Difference(first, second, mean, *ends, p, p, moving, count, pairs.cells, "")

    def _words(self, one: Difference, p_holm: float) -> str:
        spread = self._spread()
        size = one.difference / spread if spread > 0 else float("nan")
        what, ends = (self._kind.name, self._options.metric), (one.difference, one.low, one.high)
        name = f"{self._options.by}={one.first}"
        return effect_words(name, one.second, what, ends, size, p_holm, 1 - self._options.level)

    def _spread(self) -> float:
        """Standard deviation of a query's score within a run and a collection."""
        variances = [
            float(matrix[self._kind.measured(name)].var(axis=1).mean())
            for name, matrix in self._kind.scores.items()
        ]
        return float(np.sqrt(np.mean(variances)))
