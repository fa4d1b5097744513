"""The commands that train the runs of a table and write its report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd

from retrieval.config import StrategyConfig, TrainConfig
from retrieval.config.strategy import RULES
from sweeps import PROGRAM
from sweeps.report.curves import labels_for_curves
from sweeps.table.cells import cell_number, cell_text, distinct, numbers, texts_of
from sweeps.table.families import FAMILY

SETTINGS = (
    "strategy",
    "base_strategy",
    "omega/rule",
    "omega/mixing",
    "omega/robust",
    "omega/target_source",
    "omega/coefficient_given",
    "perturbation/kind",
    "train/steps",
    "train/pairs_per_step",
)
"""Columns in which the runs of one command are alike."""

PLAIN = re.compile(r"[\w.+-]+")
"""A setting that a command may name as it is."""

PARTIAL = (
    "They name what the table states. Everything else that a run was configured with is in the config.yaml "
    "of its directory."
)
"""What the page says of the commands."""


def commands(runs: pd.DataFrame, folder: Path | None, study: str | None = None) -> list[str]:
    """Commands that train these runs and write this report, from what the table states.

    ``study``: its name and options, where the runs are those of a study.
    """
    source = f"--runs {folder if folder is not None else 'runs'}"
    lines = [f"{PROGRAM} study {study}"] if study else []
    if {"data", "model", "frac", "strategy"} <= set(runs):
        named = (FAMILY, "data", *SETTINGS, *_changed(runs.columns))
        kinds = [texts_of(runs[name]) for name in named if name in runs]
        lines += [_training_command(part) for _, part in runs.groupby(kinds, sort=True)]
    several = "strategy" in runs and runs["strategy"].nunique() > 1
    by = " --by strategy" if several else ""
    lines.append(f"{PROGRAM} fit {source} --metric eff/contrastive_entropy{by} --out fit.json")
    lines.append(f"{PROGRAM} frontier {source} --out frontier.json")
    if several and "standard" in set(runs["strategy"]):
        other = next(label for label in labels_for_curves(runs) if label != "standard")
        pair = f'{source} --baseline standard --strategy "{other}"'
        lines.append(f"{PROGRAM} efficiency {pair}")
        lines.append(f"{PROGRAM} efficiency {pair} --law interpolated")
        lines.append(f"{PROGRAM} compare {pair}")
    return [*lines, f"{PROGRAM} report {source} --out report"]


def _training_command(part: pd.DataFrame) -> str:
    first = part.iloc[0]
    words = ["python train.py -m"]
    words.append(f"model={','.join(dict.fromkeys(map(str, part['model'])))}")
    words.append(f"data={first['data']}")
    words.append(f"data.frac={','.join(distinct(part['frac']))}")
    words += _of_training(first)
    words.append(f"strategy={first['strategy']}")
    words += _of_strategy(part)
    if not any(name.startswith("adv/") and part[name].notna().any() for name in map(str, part)):
        words.append("attack=none")
    if "seed" in part:
        words.append(f"seed={','.join(distinct(part['seed']))}")
    return " ".join(words)


def _changed(columns: Iterable[object]) -> list[str]:
    """Columns of settings that somebody changed: :func:`retrieval.run.settings.changed_settings`."""
    training = {f"train/{each.name}" for each in fields(TrainConfig)} - set(SETTINGS)
    return [name for name in map(str, columns) if name.startswith("model/") or name in training]


def _of_training(first: pd.Series) -> Iterator[str]:
    for name in _changed(first.index):
        text = cell_text(first[name])
        if PLAIN.fullmatch(text):  # a prompt would need the quotes of two languages
            yield f"{name.replace('/', '.')}={text}"
    for column, key, usual in (
        ("train/steps", "train.steps", TrainConfig().steps),
        ("train/pairs_per_step", "train.batch_size", TrainConfig().batch_size),
    ):
        value = cell_number(first.get(column))
        if np.isfinite(value) and value == round(value) != usual:
            yield f"{key}={round(value)}"


def _of_strategy(part: pd.DataFrame) -> Iterator[str]:
    first, usual = part.iloc[0], StrategyConfig()

    def stated(column: str, unless: object = "") -> str | None:
        value = first.get(column)
        return value if isinstance(value, str) and value not in ("", unless) else None

    if mixing := stated("omega/mixing", usual.mixing):
        yield f"strategy.mixing={mixing}"
    if kind := stated("perturbation/kind"):
        yield f"strategy.perturbation.kind={kind}"
    if first["strategy"] != "pareto":
        return
    if robust := stated("omega/robust", usual.robust):
        yield f"strategy.robust={robust}"
    if base := stated("base_strategy", usual.base):
        yield f"strategy.base={base}"
    rule = stated("omega/rule")
    if rule is not None and rule in RULES:
        yield f"strategy.rule={rule}"
        yield from _of_rule(rule, part)


def _of_rule(name: str, part: pd.DataFrame) -> Iterator[str]:
    """What a rule of ω was given, as far as the table states it; a file that it read by the file's name."""
    rule, usual = RULES[name], StrategyConfig()
    for key in rule.needs:
        if key == "omega":
            yield from _values_of(part, "strategy.omega", "omega/initial", "omega/final")
        else:
            yield f"strategy.{key}={key}.json"
    yield from _values_of(part, "strategy.coefficient", "omega/coefficient_given")
    if rule.follows_losses:
        yield from _values_of(part, "strategy.eta", "omega/eta", usual=usual.eta)
        columns = ["omega/target_eff", "omega/target_rob", "omega/initial"]
        if set(columns) <= set(part):
            eff, rob, begun = (numbers(part[column]) for column in columns)
            if not np.allclose(begun, rob / (eff + rob), atol=1e-6, equal_nan=True):
                yield from _values_of(part, "strategy.omega", "omega/initial")
    source = part.iloc[0].get("omega/target_source")
    if isinstance(source, str) and source.endswith(".json"):
        yield f"strategy.frontier={Path(source).name}"


def _values_of(part: pd.DataFrame, key: str, *columns: str, usual: float | None = None) -> Iterator[str]:
    """``key=…`` with the values of the first column that has any, unless all are the usual one."""
    for column in columns:
        if column in part and part[column].notna().any():
            found = distinct(part[column].map("{:.7g}".format, na_action="ignore"))
            if usual is None or [*map(float, found)] != [usual]:
                yield f"{key}={','.join(found)}"
            return
