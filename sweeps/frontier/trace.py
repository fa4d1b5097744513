"""The Pareto frontier of effectiveness and robustness: non-dominated runs, knee, ρ*, ω₀, hypervolume.

Runs of one configuration are averaged over seeds first; what seed noise leaves open is said as the
probability of being non-dominated and as intervals. A frontier in dev metrics gives ``strategy=pareto`` its
Pareto-efficient point (E*, R*); one in test metrics is for reporting, and says so: ``steers`` is false.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from retrieval.errors import ConfigError, DataError
from retrieval.run.files import plain
from retrieval.run.metric_names import is_contrastive_entropy, larger_is_better
from sweeps.diagnostics import Diagnostic, diagnose
from sweeps.fitting.agreement import NEGATIVES, refuse_mixtures
from sweeps.fitting.bootstrap import interval
from sweeps.fitting.configurations import (
    IDENTITY,
    Configurations,
    W,
    aggregate,
    label_runs,
    worst_by_chance,
)
from sweeps.fitting.points import PAIRS, SIZE
from sweeps.frontier.hypervolume import KNEE_RULES, Floats, dominates, hypervolume, knee, non_dominated
from sweeps.frontier.record import Cell, Change, Front, Frontier, Hypervolume, Knee, Point
from sweeps.table.cells import with_numbers, with_values
from sweeps.table.families import FAMILY, FIRST_STAGE, in_order

EFFECTIVENESS = "eff/contrastive_entropy"
ROBUSTNESS = "ood/contrastive_entropy"

DEV = (f"dev/{EFFECTIVENESS}", f"dev/{ROBUSTNESS}")
"""The same on dev data: the only metrics that may steer training or a choice of ω."""

KNEE_REPLICATES = 200
"""Bootstrap replicates whose knee is found, for the interval of ρ*."""


def steers(x: str, y: str) -> bool:
    """Whether a record in these metrics may steer training: both are dev metrics."""
    return x.startswith("dev/") and y.startswith("dev/")


@dataclass(frozen=True)
class FrontierOptions:
    """What is compared and how; every field changes numbers and is written to ``frontier.json``."""

    x: str = EFFECTIVENESS
    y: str = ROBUSTNESS
    by: tuple[str, ...] = ("model", "frac")
    """Columns whose values each get a frontier of their own beside the one over all runs."""
    knee: str = "chord"
    reference: tuple[float, float] | None = None
    """Worst corner of the hypervolume; ``None``: chance level, or the worst configuration + 10 %."""
    replicates: int = 1000
    seed: int = 0
    level: float = 0.95


def frontier(runs: pd.DataFrame, options: FrontierOptions | None = None) -> Frontier:
    """Frontier of a table of runs as the record written to ``frontier.json``.

    Args:
        runs: one row a run with the columns of ``result.json``; runs without both metrics are left out
            and counted in ``n_left_out``.
        options: what is compared.

    Raises ConfigError: unknown metric, knee rule or grouping column; DataError: no run has both metrics;
    FitRefusedError: rankings of several first stages.
    """
    options = options or FrontierOptions()
    labelled = label_runs(runs)
    _check(labelled, options)
    labelled, left = with_numbers(labelled, (options.x, options.y))
    for metric in (options.x, options.y):
        refuse_mixtures(labelled, metric, columns=(FIRST_STAGE,))
    means = aggregate(labelled, (options.x, options.y))
    if not len(means.table):
        raise DataError(f"no run has both {options.x} and {options.y}; run them with eval=quick or eval=full")
    reference = options.reference or _reference(runs, means, options)
    front = _front(means, options, reference)
    used = int(means.table["n_runs"].sum())
    groups = []
    if options.by:
        for values, part in means.table.groupby(list(options.by), sort=True):
            where = dict(zip(options.by, values))
            own = replace(means, table=part.reset_index(drop=True))  # with the seed noise of all
            groups.append(Cell(where=where, front=_front(own, options, reference)))
        left += [
            replace(rows, why=f"{rows.why}, in no cell") for rows in with_values(labelled, options.by)[1]
        ]
    return Frontier(
        front=front,
        steers=steers(options.x, options.y),
        by=list(options.by),
        n_runs=used,
        n_left_out=len(runs) - used,
        groups=groups,
        scaling=_scaling(means, groups, options),
        warnings=[
            *(rows.finding for rows in left),
            *_families(means, options),
            *_warnings(front, means, options),
        ],
    )


def _check(runs: pd.DataFrame, options: FrontierOptions) -> None:
    for name in (options.x, options.y):
        if name not in runs:
            near = [key for key in map(str, runs) if key.startswith(("eff/", "ood/", "adv/", "dev/"))]
            hint = "; runs with robust-dev domains measure it (data.robust_dev)" if name in DEV else ""
            raise ConfigError(
                f"no column {name}; the table has {', '.join(sorted(near)) or 'no metric'}{hint}"
            )
    if options.x == options.y:
        raise ConfigError(f"--x and --y are both {options.x}; a frontier needs two objectives")
    for name in options.by:
        if name not in runs or name not in IDENTITY:
            known = ", ".join(column for column in IDENTITY if column in runs)
            raise ConfigError(f"--by {name}: no column that a configuration has; choose among {known}")
    if options.knee not in KNEE_RULES:
        raise ConfigError(f"--knee {options.knee} does not exist; choose one of {', '.join(KNEE_RULES)}")


def _signs(options: FrontierOptions) -> Floats:
    """−1 for a metric of which more is better, so that everything is minimised."""
    return np.array([-1.0 if larger_is_better(name) else 1.0 for name in (options.x, options.y)])


def _reference(runs: pd.DataFrame, means: Configurations, options: FrontierOptions) -> tuple[float, float]:
    stated = with_numbers(runs, [NEGATIVES], positive=True)[0][NEGATIVES] if NEGATIVES in runs else ()
    negatives = int(max(stated, default=W))
    corner = []
    for name, sign in zip((options.x, options.y), _signs(options)):
        values = means.table[name].to_numpy(float) * sign
        chance = worst_by_chance(name, negatives)
        worst = values.max() + 0.1 * (np.ptp(values) or abs(values.max()) or 1.0)
        corner.append(float(worst * sign) if chance is None else chance)
    return corner[0], corner[1]


def _front(means: Configurations, options: FrontierOptions, reference: tuple[float, float]) -> Front:
    """Frontier of one set of configurations, all in the metrics' own units."""
    signs = _signs(options)
    values = means.table[[options.x, options.y]].to_numpy(float)
    minimised = values * signs
    corner = (reference[0] * signs[0], reference[1] * signs[1])
    best = knee(minimised, options.knee)
    noise = _noise(means, options, corner)
    area = float(hypervolume(minimised, corner))
    e, r = float(values[best, 0]), float(values[best, 1])
    # ρ* = R*/E* is the ratio of two losses; with a rank metric or an attack's rate it has no meaning for ω.
    ratio = is_contrastive_entropy(options.x) and is_contrastive_entropy(options.y) and e > 0 and r > 0
    name = str(means.table["configuration"].iloc[best])
    return Front(
        x=options.x,
        y=options.y,
        knee=Knee(e, r, options.knee, name, KNEE_RULES[options.knee][1]),
        rho=r / e if ratio else None,
        rho_interval=list(noise.rho) if noise and ratio else None,
        omega_0=r / (e + r) if ratio else None,
        points=_points(means, options, minimised, noise),
        hypervolume=Hypervolume(
            area, list(_reverse(area, noise.areas, options.level)) if noise else None, list(reference)
        ),
    )


def _points(
    means: Configurations, options: FrontierOptions, minimised: Floats, noise: _Noise | None
) -> list[Point]:
    kept, above = non_dominated(minimised), dominates(minimised)
    names = means.table["configuration"].tolist()
    return [
        Point(
            configuration=names[i],
            label=str(row["label"]),
            size={key: plain(row[key]) for key in ("model", "frac", SIZE, PAIRS) if key in row},
            runs=row["runs"],
            seeds=row["seeds"],
            x=float(row[options.x]),
            y=float(row[options.y]),
            sd_x=plain(row[f"{options.x}|sd"]),
            sd_y=plain(row[f"{options.y}|sd"]),
            non_dominated=bool(kept[i]),
            probability_non_dominated=noise.probability[i] if noise else None,
            dominated_by=[names[j] for j in np.flatnonzero(above[:, i])],
        )
        for i, (_, row) in enumerate(means.table.iterrows())
    ]


@dataclass(frozen=True)
class _Noise:
    probability: list[float]
    areas: Floats
    rho: tuple[float, float]


def _noise(means: Configurations, options: FrontierOptions, corner: tuple[float, float]) -> _Noise | None:
    """What seed noise leaves open; ``None`` without replicates anywhere in the table."""
    if not len(means.residuals) or options.replicates < 1:
        return None
    generator = np.random.default_rng(options.seed)
    drawn = means.resample(generator, options.replicates)
    minimised = drawn * _signs(options)
    # The knee is found set by set; a few hundred are enough for its interval.
    ratios = [
        part[best][1] / part[best][0]
        for part in drawn[:KNEE_REPLICATES]
        if part[best := knee(part * _signs(options), options.knee)][0]
    ]
    low, high = interval(np.array(ratios), options.level) if ratios else (np.nan, np.nan)
    share = non_dominated(minimised).mean(axis=0)
    return _Noise(share.tolist(), hypervolume(minimised, corner), (float(low), float(high)))


def _reverse(value: float, draws: Floats, level: float) -> tuple[float, float]:
    """Reverse-percentile ("basic") interval: the best of noisy points is biased, and it mirrors that back."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(2 * value - high), float(2 * value - low)


def _scaling(means: Configurations, groups: Sequence[Cell], options: FrontierOptions) -> dict[str, Change]:
    """How the knee moves per doubling of N and of D.

    Least squares of ln x and ln y of the groups' knees on log2 N and log2 D; a change of −0.1 is one
    of −10 % per doubling. Intervals are Student's t; ``None`` without degrees of freedom.
    """
    if not groups or not means.logarithmic or not {SIZE, PAIRS} <= set(means.table):
        return {}
    cells = means.table.groupby(list(options.by), sort=True)[[SIZE, PAIRS]].median().to_numpy(float)
    knees = np.log([[group.front.knee.x, group.front.knee.y] for group in groups])
    axes = [k for k in (0, 1) if len(np.unique(cells[:, k])) > 1 and np.isfinite(cells[:, k]).all()]
    design = np.column_stack([np.ones(len(cells)), *(np.log2(cells[:, k]) for k in axes)])
    freedom = len(cells) - design.shape[1]
    if not axes or freedom < 0 or np.linalg.matrix_rank(design) < design.shape[1]:
        return {}
    solution, *_ = np.linalg.lstsq(design, knees, rcond=None)
    residual = ((knees - design @ solution) ** 2).sum(axis=0)
    spread = np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
    found = {}
    for position, k in enumerate(axes, start=1):
        slopes, intervals = solution[position], []
        for objective, slope in enumerate(slopes):
            half = stats.t.ppf((1 + options.level) / 2, freedom) if freedom else np.nan
            half *= spread[position] * np.sqrt(residual[objective] / max(freedom, 1))
            ends = [float(np.expm1(slope - half)), float(np.expm1(slope + half))]
            intervals.append(ends if freedom else None)
        change = [float(np.expm1(slope)) for slope in slopes]
        found["ND"[k]] = Change(change[0], intervals[0], change[1], intervals[1])
    return found


def _families(means: Configurations, options: FrontierOptions) -> Iterator[Diagnostic]:
    """SEVERAL_FAMILIES where the frontier over all configurations, or that of a cell, is of several."""
    found = in_order(means.table)
    if len(found) > 1 and FAMILY not in options.by:
        yield diagnose(
            "SEVERAL_FAMILIES", f"one frontier over {len(found)} model families: {', '.join(found)}"
        )


def _warnings(front: Front, means: Configurations, options: FrontierOptions) -> Iterator[Diagnostic]:
    if not len(means.residuals):
        text = f"none of the {len(means.table)} configurations has a second seed"
        yield diagnose("SINGLE_SEED", text)
    best = len(front.best)
    if best < 3:
        text = f"{best} configuration(s) are non-dominated, so the knee is one of the frontier's ends"
        yield diagnose("FRONTIER_TOO_SHORT", text)
    if front.rho is None:
        text = f"ρ* = R*/E* is defined for two contrastive entropies, not for {options.x} and {options.y}"
        yield diagnose("RHO_UNDEFINED", text)
    repeated = means.table["seeds"].map(lambda seeds: len(set(seeds)) < len(seeds))
    if repeated.any():
        names = ", ".join(means.table.loc[repeated, "configuration"].head(3))
        text = f"several runs with the same seed in: {names}; they differ in a setting the name leaves out"
        yield diagnose("MIXED_SETTINGS", text)
