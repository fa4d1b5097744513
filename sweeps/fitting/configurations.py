"""Runs that differ only in the seed form a configuration: labels, replicate means and seed noise.

Seeds are replicates of one measurement, not independent points (see docs/method.md), so everything
that draws or compares runs does it on the means of configurations.
"""

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrieval.config import DEFAULT_RULES
from retrieval.errors import ConfigError
from retrieval.run.metric_names import is_contrastive_entropy, is_harm_share, larger_is_better
from sweeps.fitting.points import PAIRS, SIZE
from sweeps.table.cells import LeftOut, cell_number, cell_text, is_blank, numbers, texts_of, with_sound
from sweeps.table.families import FAMILY, with_families

FLOPS = "cost/train_flops"

W = 256
"""Negatives of the contrastive entropy where a table does not state ``eval/negatives``."""

DISTINCTIONS = {"omega/mixing": "loss", "omega/robust": "ood", "perturbation/kind": ""}
"""Settings that change what is trained: column -> value of a run that does not state it, empty for none."""

STARTS = {"omega/eta": "η={:.3g}", "omega/initial": "from {:.3g}", "omega/coefficient_given": "c={:.3g}"}
"""Numbers that a rule of ω is given: column -> how a label states one.

A rule may as well make its own start of what it knows of a cell. So a label states a number only where runs
of one cell and seed differ in it.
"""

NO_STRATEGY = "(no strategy)"
"""Label of a run that does not state its strategy, in a table where others do."""

_NO_RULE = " (no rule)"

IDENTITY = (FAMILY, "model", "data", "frac", "strategy", "base_strategy", SIZE, PAIRS, FLOPS)


def worst_by_chance(metric: str, negatives: int = W) -> float | None:
    """Value of ``metric`` without any knowledge: ln(W+1) for contrastive entropy, 0 for rank metrics.

    1 for the share of an attack's attempts that do harm.

    ``None`` where no such value exists (losses, costs).
    """
    if is_contrastive_entropy(metric):
        return math.log(negatives + 1)
    if is_harm_share(metric):
        return 1.0
    return 0.0 if larger_is_better(metric) else None


def strategy_label(row: pd.Series, named: Sequence[str] = (), plain: Collection[str] = DEFAULT_RULES) -> str:
    """Strategy of a run as people name it: ``standard``, ``pareto``, ``fixed ω=0.25``, ``pareto linear``.

    In parentheses follow a base strategy other than ``standard`` and the values of the columns ``named``,
    keys of :data:`DISTINCTIONS` and :data:`STARTS`: ``fixed ω=0.25 (hard-negative, steps)``. Rules in
    ``plain`` are not named.
    """
    label = "all" if "strategy" not in row else cell_text(row["strategy"]) or NO_STRATEGY
    details = [text for column in named if (text := distinction(row.get(column), column))]
    if label != "pareto":
        return f"{label} ({', '.join(details)})" if details else label
    rule = row.get("omega/rule")
    omega = cell_number(row.get("omega/final"))
    if rule == "fixed":
        label = f"fixed ω={omega:.3g}" if pd.notna(omega) else "fixed ω"
    elif isinstance(rule, str) and rule not in ("", *plain):
        label = f"pareto {rule}"
    base = row.get("base_strategy")
    if isinstance(base, str) and base not in ("", "standard", "pareto"):
        details.insert(0, base)
    return f"{label} ({', '.join(details)})" if details else label


def distinction(value: object, column: str) -> str:
    """A cell of :data:`DISTINCTIONS` or :data:`STARTS` as text; what a run does not state has the default."""
    if column in STARTS:
        number = cell_number(value)
        return STARTS[column].format(number) if pd.notna(number) else ""
    return value if isinstance(value, str) and value else DISTINCTIONS[column]


def _labels(runs: pd.DataFrame) -> list[str]:
    """Label of every run; only labels that would stand for several settings name them."""
    rows = [row for _, row in runs.iterrows()]
    present = set(texts_of(runs["omega/rule"])) if "omega/rule" in runs else set()
    # What `strategy=pareto` alone would have chosen is `pareto`; in one table that is one rule.
    plain = [next((rule for rule in DEFAULT_RULES if rule in present), DEFAULT_RULES[0])]
    labels = [strategy_label(row, (), plain) for row in rows]
    columns = [column for column in DISTINCTIONS if column in runs]
    settings: dict[tuple[str, str], set[str]] = {}
    for label, row in zip(labels, rows):
        for column in columns:
            # A strategy without L_rob has none of these settings.
            if row.get("strategy") == "pareto" or isinstance(row[column], str):
                settings.setdefault((label, column), set()).add(distinction(row[column], column))
    several = {key for key, values in settings.items() if len(values) > 1} | _given(runs, labels)
    columns += [column for column in STARTS if column in runs]
    full = [
        strategy_label(row, [column for column in columns if (label, column) in several], plain)
        for label, row in zip(labels, rows)
    ]
    return [f"{label}{_NO_RULE}" if unsaid else label for label, unsaid in zip(full, _without_rule(runs))]


def _given(runs: pd.DataFrame, labels: Sequence[str]) -> set[tuple[str, str]]:
    """Labels and columns of :data:`STARTS` in which runs of one cell and seed differ."""
    known = runs.assign(label=labels)
    same = [name for name in ("label", FAMILY, "model", "data", "frac", "seed") if name in known]
    found: set[tuple[str, str]] = set()
    for column in STARTS:
        if column in known:
            known[column] = numbers(known[column])
            differ = known.groupby(same, dropna=False)[column].nunique(dropna=False) > 1
            found |= {(str(label), column) for label in differ[differ].index.get_level_values("label")}
    return found


def _without_rule(runs: pd.DataFrame) -> NDArray[np.bool_]:
    """Pareto runs that do not state their rule of ω, where others of the table do, bool[k]."""
    if not {"strategy", "omega/rule"} <= set(runs):
        return np.zeros(len(runs), dtype=bool)
    pareto, blank = (runs["strategy"] == "pareto").to_numpy(dtype=bool), is_blank(runs["omega/rule"])
    return pareto & blank & bool((pareto & ~blank).any())


def label_order(label: str) -> tuple[int, str, float]:
    """Sort key of strategies: ``standard`` first, ``pareto`` next, fixed ω last and by value."""
    kind, _, value = label.partition("ω=")
    number = re.split(r"[ ,]", value)[0]  # what tells labels apart follows in parentheses, or after a comma
    if kind.startswith("fixed"):
        return 3, "", float(number) if number else math.inf
    return {"standard": 0, "pareto": 1}.get(label, 2), label, 0.0


def label_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Copy of the runs table with columns ``label`` (of the strategy) and ``configuration``.

    A label that would stand for runs of several ways to mix the losses, or of several kinds of robustness
    data or of perturbations, names them (:data:`DISTINCTIONS`), and so do runs of one cell and seed that were
    given several η or starts of ω (:data:`STARTS`); other labels stay short.
    Missing ``model``, ``data``, ``frac`` columns are left out of the configuration's name; family and
    collection are part of it only where the table holds several. Every row has its family.

    Raises TableError on a size that is no number.
    """
    labelled = with_families(with_sound(runs, (SIZE, PAIRS, FLOPS)))
    labelled["label"] = _labels(runs)
    several = {name for name in (FAMILY, "data") if name in runs and labelled[name].nunique() > 1}
    named = [
        name
        for name in (FAMILY, "model", "data", "frac")
        if name in runs and (name in several or name in ("model", "frac"))
    ]
    names = []
    for _, row in labelled.iterrows():
        parts = [_part(name, cell_text(row[name])) for name in named]
        names.append(" · ".join([*parts, str(row["label"])]))
    labelled["configuration"] = names
    return labelled


def with_settings(labelled: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Copy of labelled runs whose labels state ``columns``: ``standard (train/steps=300)``.

    A run without a value keeps its label as far as that column goes.

    Raises ConfigError: no such column.
    """
    for column in columns:
        if column not in labelled:
            raise ConfigError(
                f"--label-by {column}: no such column; try train/steps, or a setting that was swept"
            )
    stated = []
    for _, row in labelled.iterrows():
        told = [f"{column}={text}" for column in columns if (text := cell_text(row[column]))]
        stated.append(f"{row['label']} ({', '.join(told)})" if told else str(row["label"]))
    return labelled.assign(label=stated)


def _part(name: str, text: str) -> str:
    """What a cell adds to the name of a configuration."""
    if not text:
        return f"no {name}"
    return f"frac {text}" if name == "frac" else text


def labelled_only(labelled: pd.DataFrame) -> tuple[pd.DataFrame, list[LeftOut]]:
    """The runs whose strategy is known, and those that do not state it or its rule of ω."""
    no_rule = labelled["label"].str.endswith(_NO_RULE)
    no_strategy = labelled["label"].str.startswith(NO_STRATEGY)
    left = LeftOut.of(labelled, no_strategy, "without a value of strategy")
    left += LeftOut.of(labelled, no_rule, "without a value of omega/rule")
    return labelled[~(no_rule | no_strategy)], left


def require_labels(labelled: pd.DataFrame, baseline: str, strategy: str, also: Collection[str] = ()) -> None:
    """Raise ConfigError where no run has a label, or both are one; ``also``: baselines that are no labels."""
    known = sorted(labelled["label"].unique())
    for option, name, others in (("--strategy", strategy, ()), ("--baseline", baseline, also)):
        if name not in (*known, *others):
            hint = f", or say {', '.join(others)}" if others else ""
            raise ConfigError(f"{option} {name}: no such runs; the table has {', '.join(known)}{hint}")
    if baseline == strategy:
        raise ConfigError(f"--baseline and --strategy are both {baseline}; name two strategies")


@dataclass(frozen=True)
class Configurations:
    """Means over seeds of some metrics, one row a configuration.

    ``table`` has ``configuration``, ``label``, ``runs`` and ``seeds`` (lists), the identity columns
    of the first run, and for each metric its mean under its own name and ``<metric>|sd``.
    ``residuals`` (r, k) are deviations of runs from their configuration's mean, on the scale of
    ``logarithmic``, each inflated by √(n/(n−1)); empty without replicates.
    """

    table: pd.DataFrame
    metrics: tuple[str, ...]
    residuals: np.ndarray
    logarithmic: bool

    def resample(self, generator: np.random.Generator, replicates: int) -> np.ndarray:
        """Draws [replicates, configurations, k] of the means under pooled seed noise.

        A residual bootstrap: the noise of all configurations is pooled, because two to five seeds
        of one configuration say too little about its own; metrics of one run stay together.
        """
        means = self.table[list(self.metrics)].to_numpy(float)
        counts = self.table["n_runs"].to_numpy(int)
        if not len(self.residuals):
            return np.broadcast_to(means, (replicates, *means.shape)).copy()
        drawn = self.residuals[generator.integers(len(self.residuals), size=(replicates, int(counts.sum())))]
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        noise = np.add.reduceat(drawn, starts, axis=1) / counts[:, None]
        return np.asarray(means * np.exp(noise) if self.logarithmic else means + noise)


def aggregate(runs: pd.DataFrame, metrics: Sequence[str]) -> Configurations:
    """Configuration means of ``metrics`` over the runs that have all of them.

    ``runs`` is a labelled table (:func:`label_runs`). Means are geometric where every value is
    positive (noise of losses is relative), arithmetic otherwise.
    """
    metrics = tuple(metrics)
    numeric = np.stack([numbers(runs[name]) for name in metrics], axis=1)
    whole = np.isfinite(numeric).all(axis=1)
    complete, values = runs[whole], numeric[whole]
    logarithmic = bool(len(values)) and bool((values > 0).all())
    scaled = np.log(values) if logarithmic else values
    rows: list[dict[str, object]] = []
    residuals: list[np.ndarray] = []
    codes, names = pd.factorize(complete["configuration"], sort=True)
    for code, name in enumerate(names):
        members = np.flatnonzero(codes == code)
        mean = scaled[members].mean(axis=0)
        first = complete.iloc[members[0]]
        row = {key: first[key] for key in IDENTITY if key in complete}
        row |= {"configuration": name, "label": first["label"], "n_runs": len(members)}
        row["runs"] = [str(run) for run in complete.iloc[members]["run"]] if "run" in complete else []
        seeds = complete.iloc[members]["seed"] if "seed" in complete else pd.Series(dtype=object)
        row["seeds"] = seeds[~is_blank(seeds)].tolist()
        for k, metric in enumerate(metrics):
            row[metric] = float(np.exp(mean[k]) if logarithmic else mean[k])
            row[f"{metric}|sd"] = float(values[members, k].std(ddof=1)) if len(members) > 1 else None
        rows.append(row)
        if len(members) > 1:
            residuals.append((scaled[members] - mean) * math.sqrt(len(members) / (len(members) - 1)))
    pooled = np.concatenate(residuals) if residuals else np.empty((0, len(metrics)))
    return Configurations(pd.DataFrame(rows), metrics, pooled, logarithmic)
