"""Efficiency: how many times as much N, D or FLOPs the baseline needs to match a strategy.

With curves L_b of the baseline and L_s of the strategy, the multiplier on data at D is the m that solves
``L_b(N, m·D) = L_s(N, D)``; on model size and on training FLOPs likewise. L_b is a fitted law, or what was
measured joined by lines. Two multipliers are always given for all metrics together: *to match both* is the
larger of the metrics' multipliers, *in each* the smaller. Where the strategy's value lies at or below what
the baseline's law can reach, the multiplier is unbounded. arXiv 2505.24279 reports an efficiency without
defining it; this definition is the common one of compute multipliers and is ours to answer for.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from retrieval.errors import ConfigError, ParetrieveError
from sweeps import Progress
from sweeps.diagnostics import FitRefusedError, require_columns
from sweeps.efficiency.fitted import Fits, FittedSource
from sweeps.efficiency.measured import MeasuredSource
from sweeps.efficiency.multipliers import doubts, summaries
from sweeps.efficiency.record import (
    INTERPOLATED,
    Axis,
    Curve,
    Efficiency,
    EfficiencyOptions,
    Parts,
    Place,
    Resource,
    sources,
)
from sweeps.fitting.agreement import refuse_mixtures
from sweeps.fitting.configurations import FLOPS, label_runs, labelled_only, require_labels
from sweeps.fitting.points import PAIRS, SIZE, Columns, levels_of
from sweeps.table.cells import Floats, LeftOut, is_blank, numbers, with_numbers, with_values
from sweeps.table.families import FAMILY, FIRST_STAGE


def efficiency(
    runs: pd.DataFrame,
    baseline: str = "standard",
    strategy: str = "pareto",
    options: EfficiencyOptions | None = None,
    progress: Progress | None = None,
    fitted: Fits | None = None,
) -> Efficiency:
    """Multipliers of ``strategy`` over ``baseline`` as the record written to ``efficiency.json``.

    Args:
        runs: one row a run with the columns of ``result.json``.
        baseline, strategy: labels as :func:`sweeps.fitting.configurations.label_runs` gives them.
        options: metrics, form of the law, resources, fit.
        progress: called with (done, total) bootstrap draws of each set of fits.
        fitted: fits already made of the same table with the same options, filled as fits are made: several
            strategies compared with one baseline share its fits.

    Raises ConfigError: unknown strategy or law; TableError: unknown metric; FitRefusedError: several
    families, or no resource varies enough for any multiplier.
    """
    options = options or EfficiencyOptions()
    if options.law not in sources():
        raise ConfigError(f"--law {options.law} does not exist; choose one of {', '.join(sources())}")
    parts, left = _select(runs, baseline, strategy, options)
    multipliers: FittedSource | MeasuredSource
    if options.law == INTERPOLATED:
        multipliers = MeasuredSource(options)
    else:
        multipliers = FittedSource(parts, options, progress, {} if fitted is None else fitted)
    found, refused = _curves(parts, multipliers, options)
    warnings = [*(rows.finding for rows in left), *multipliers.warnings, *doubts(found, strategy)]
    return Efficiency(
        baseline=baseline,
        strategy=strategy,
        metrics=list(options.metrics),
        law=multipliers.law,
        level=options.fit.level,
        # Curves of a resource are in order of the other one, so the largest stays.
        headline={item.resource: item.row(-1) for item in found},
        levels=[level for item in found for level in item.levels()],
        curves=found,
        refused=refused,
        warnings=list({(item.code, item.message): item for item in warnings}.values()),
    )


def _curves(
    parts: Parts, source: FittedSource | MeasuredSource, options: EfficiencyOptions
) -> tuple[list[Curve], dict[str, str]]:
    """Curves of all resources, and by resource the reason why there is none; refused where there are none."""
    found: list[Curve] = []
    refused: dict[str, str] = {}
    for resource in options.resources:
        try:
            found += _slices(parts, resource, source, options)
        except ParetrieveError as error:
            refused[resource] = str(error)
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise FitRefusedError("NO_MULTIPLIER", f"no resource gives a multiplier: {reasons}")
    return found, refused


def _slices(
    parts: Parts, resource: Resource, source: FittedSource | MeasuredSource, options: EfficiencyOptions
) -> list[Curve]:
    """Curves of one resource, one for every value of the other, the largest last.

    On FLOPs only the slice with the most training pairs counts.

    Raises FitRefusedError where no slice has levels enough, or its law cannot be inverted.
    """
    axis: Axis = "D" if resource == "D" else "N"
    columns = Columns(n=FLOPS if resource == "FLOPs" else SIZE)
    for name in (columns.n, columns.d):
        if any(name not in part for part in parts):
            raise FitRefusedError("FEWER_THAN_3_LEVELS", f"the runs do not say {name}")
    along, across = (columns.d, columns.n) if axis == "D" else (columns.n, columns.d)
    parts, lacking = _measured(parts, [along, across])
    source.warnings += [replace(rows, why=f"{rows.why}, not used on {resource}").finding for rows in lacking]
    slices = sorted(set(parts[0][across]) & set(parts[1][across]))
    found = []
    for value in slices[-1:] if resource == "FLOPs" else slices:
        first, second = (part[part[across] == value] for part in parts)
        least = source.levels(resource)
        if first[along].nunique() < least[0] or second[along].nunique() < least[1]:
            continue
        pair = source.pair((first, second), axis, columns, resource)
        levels = np.unique(second[along].to_numpy(float))
        place = Place(name=_name(second, across, value), other={across: float(value)})
        reach = [float(first[along].min()), float(first[along].max())]
        scale = pair.scale(levels)
        drawn = {
            name: pair.multiplier(k, axis, scale, float(value)) for k, name in enumerate(options.metrics)
        }
        by = summaries(drawn, options.fit.level, pair.forms == INTERPOLATED)
        found.append(Curve(resource, place, pair.forms, scale.tolist(), levels.tolist(), by, reach))
    if not found:
        least = source.levels(resource)
        enough = str(least[0]) if least[0] == least[1] else f"{least[0]} (the strategy {least[1]})"
        text = f"{along} has fewer than {enough} values in common at every {across}"
        raise FitRefusedError("FEWER_THAN_3_LEVELS", text)
    return found


def _measured(parts: Parts, columns: list[str]) -> tuple[Parts, list[LeftOut]]:
    """The runs of both sides that say how much of the resources they had, and those left out."""
    (first, one), (second, other) = (with_values(part, columns) for part in parts)
    return (first, second), [*one, *other]


def _name(part: pd.DataFrame, across: str, value: float) -> str:
    if across == SIZE and "model" in part and part["model"].nunique() == 1:
        return str(part["model"].iloc[0])
    return f"{value:,.0f}" + (" pairs" if across == PAIRS else "")


def _select(
    runs: pd.DataFrame, baseline: str, strategy: str, options: EfficiencyOptions
) -> tuple[Parts, list[LeftOut]]:
    """The runs of both sides with all metrics, their sizes as levels, and the runs left out."""
    labelled = label_runs(runs)
    require_labels(labelled, baseline, strategy)
    require_columns(runs, *options.metrics)
    labelled, unknown = labelled_only(labelled)
    labelled = labelled[labelled["label"].isin([baseline, strategy])]
    for metric in options.metrics:
        refuse_mixtures(labelled, metric, columns=(FAMILY, FIRST_STAGE))
    sizes = [name for name in (SIZE, PAIRS) if name in labelled and not is_blank(labelled[name]).all()]
    labelled, left = with_numbers(labelled, [*options.metrics, *sizes], positive=True)
    require_labels(labelled, baseline, strategy)
    # A fit refuses a table of several strategies; within one label they are one.
    labelled = labelled.drop(columns="strategy", errors="ignore")
    for column in (*sizes, FLOPS):
        if column in labelled:
            values = numbers(labelled[column])
            if column == FLOPS and sizes:
                values = _mean_flops(labelled, values, sizes)
            finite = np.isfinite(values)
            values[finite] = levels_of(values[finite])
            labelled = labelled.assign(**{column: values})
    return (labelled[labelled["label"] == baseline], labelled[labelled["label"] == strategy]), [
        *unknown,
        *left,
    ]


def _mean_flops(labelled: pd.DataFrame, values: Floats, sizes: list[str]) -> Floats:
    """FLOPs of each run's configuration, [k]: seeds see other texts, so none is a level of its own."""
    flops = pd.Series(values, index=labelled.index)
    means = flops.groupby([labelled[name] for name in ("label", *sizes)]).transform("mean")
    return means.where(flops.notna()).to_numpy(dtype=np.float64, copy=True)
