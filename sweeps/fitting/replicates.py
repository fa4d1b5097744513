"""What tells the runs of one size apart: seeds and names of runs, and the settings that are neither."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweeps.diagnostics import Diagnostic, FitRefusedError, diagnose
from sweeps.table.cells import SHOWN, is_blank, numbers, row_names, texts_of

Texts = NDArray[np.object_]

UNKNOWN = "?"
"""How the label of a run without a seed begins."""

_REPLICATES = {"seed", "seeds", "run", "rerun", "rep", "repeat", "replicate", "trial", "draw", "fold"}
_SETTINGS = {"lr", "learning_rate", "batch_size", "optimizer", "optimiser", "weight_decay", "epochs", "steps"}
"""Last parts of the names of columns that count replicates, and of those that are set before a run."""

_MEASURED = (
    "eff/",
    "ood/",
    "adv/",
    "dev/",
    "bm25/",
    "untrained/",
    "cost/",
    "size/",
    "eval/",
    "provenance/",
    "warnings",
)
_SHARE = 8
"""A column of numbers with one distinct value for this many rows, or more rows, holds no measurement."""


@dataclass(frozen=True)
class Identity:
    """Seed and name of every row as text, ``""`` where there is none, and what is said about them."""

    seed: Texts
    run: Texts
    notes: list[Diagnostic] = field(default_factory=list)


def identify(frame: pd.DataFrame, sizes: NDArray[np.float64], seed: str, run: str) -> Identity:
    """Seeds and names of the rows; ``sizes`` [k, 2] are their N and D, ``seed`` and ``run`` the columns.

    A column of names whose values recur at several sizes names no runs. Where there are no seeds and it is
    different in all rows of one size, it counts replicates.
    """
    none = np.full(len(frame), "", dtype=object)
    seeds = texts_of(frame[seed]) if seed in frame else none
    names = texts_of(frame[run]) if run in frame and run != seed else none
    notes = []
    if _recurs(names, sizes):
        counted = pd.DataFrame(sizes).assign(run=names)
        if not (seeds != "").any() and not counted[names != ""].duplicated().any():
            seeds = names
            text = f"the values of {run} recur at several N and D: taken for seeds, not for names of runs"
            notes.append(diagnose("RUN_IS_REPLICATE", text))
        names = none
    if (seeds != "").any() and (blank := seeds == "").any():
        some = [name for name, out in zip(row_names(frame, run), blank) if out]
        listed = ", ".join(some[:SHOWN]) + (f" and {len(some) - SHOWN} more" if len(some) > SHOWN else "")
        column = seed if seed in frame else run
        text = f"{len(some)} of {len(frame)} rows have no {column} ({listed}): each counts as its own seed"
        notes.append(diagnose("SEED_UNKNOWN", text))
    return Identity(seeds, names, notes)


def _recurs(names: Texts, sizes: NDArray[np.float64]) -> bool:
    """Whether most names stand at several sizes, so that they cannot name runs."""
    named = names != ""
    if len(set(names[named])) * 2 > named.sum():
        return False
    places = pd.DataFrame(sizes[named]).assign(run=names[named]).drop_duplicates()
    return bool((places.groupby("run").size() > 1).mean() >= 0.5)


def replicate_labels(frame: pd.DataFrame, seeds: Texts, cluster: NDArray[np.intp]) -> list[str]:
    """A label of every row within its configuration, the same whatever the order of the rows.

    Rows with one seed share it in all strategies and metrics; one without is told by what stands in it.
    """
    keys = [seed or UNKNOWN + key for seed, key in zip(seeds, _contents(frame, seeds), strict=True)]
    places = pd.Series(keys).groupby([cluster, keys]).cumcount()
    return [f"{key}#{place}" for key, place in zip(keys, places)]


def _contents(frame: pd.DataFrame, seeds: Texts) -> list[str]:
    """Fingerprint of each row without a seed."""
    if all(seeds):
        return [""] * len(frame)
    columns = [texts_of(frame[name]) for name in sorted(map(str, frame.columns))]
    return [hashlib.sha256("\0".join(row).encode()).hexdigest()[:8] for row in zip(*columns)]


def refuse_settings(
    frame: pd.DataFrame, sizes: NDArray[np.float64], seed: Texts, roles: Collection[str]
) -> None:
    """Raise FitRefusedError where rows of one size and seed differ in a setting: a mean would mix it.

    Args:
        frame: the rows, without repeats.
        sizes: their N and D, [k, 2].
        seed: their seeds as text.
        roles: columns with a role of their own in the fit: they are no settings.
    """
    cell = pd.DataFrame(sizes).assign(seed=seed)
    groups = cell.groupby([0, 1, "seed"]).ngroup().to_numpy()
    shared = np.bincount(groups)[groups] > 1
    if not shared.any():
        return
    known = [name for name in map(str, frame) if name not in roles and not name.startswith(_MEASURED)]
    found = [name for name in known if _last(name) not in _REPLICATES and _is_setting(frame[name], groups)]
    if not found:
        return
    name = min(found, key=lambda column: _last(column) not in _SETTINGS)
    values = [text for text in dict.fromkeys(texts_of(frame[name])) if text]
    shown = ", ".join(values[:4]) + (", …" if len(values) > 4 else "")
    also = f" (and {', '.join(other for other in found if other != name)})" if found[1:] else ""
    raise FitRefusedError(
        "REPLICATES_UNKNOWN",
        f"rows of one N and D differ in {name}{also} and no seed tells them apart; {name} is {shown}: keep "
        f"one with --where {name}={values[0]}, fit each with --by {name}, or say --seed-column {name} if it "
        "counts replicates",
    )


def _last(column: str) -> str:
    return re.split(r"[/.]", column.lower())[-1].strip().replace(" ", "_").replace("-", "_")


def _is_setting(values: pd.Series, groups: NDArray[np.integer[Any]]) -> bool:
    """Whether a column differs within groups and looks as if it had been set rather than measured."""
    texts, known = texts_of(values), ~is_blank(values)
    sets = pd.Series(texts[known]).groupby(groups[known]).agg(frozenset)
    differing = [found for found in sets if len(found) > 1]
    if not differing:
        return False
    if _last(str(values.name)) in _SETTINGS:
        return True
    distinct, rows = len(set(texts[known])), int(known.sum())
    if not np.isfinite(numbers(values[known])).all():
        return 2 * distinct <= rows  # names of runs and dates are all different
    times = Counter(differing)
    recurring = sum(count for count in times.values() if count > 1)
    return 2 * recurring >= len(differing) or _SHARE * distinct <= rows
