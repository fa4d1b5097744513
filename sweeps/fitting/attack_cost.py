"""What an attack costs: the budget at which it reaches a level, read off the curve that a run recorded.

``attack-cost/queries@0.5`` is a column that no run has. It is computed from the columns ``adv/curve/…@m``, so
the level can be chosen after the runs. Between two budgets the curve is a straight line. That is the cost of
``wsra``; ``attack-cost/NAME/queries@0.5`` is that of another attack, by ``adv/NAME/curve/…@m``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrieval.config.attack import FIRST, prefix_of
from retrieval.errors import ConfigError
from sweeps.diagnostics import FitRefusedError, TableError, require_columns
from sweeps.table.cells import LeftOut, numbers

Floats = NDArray[np.float64]

PREFIX = "attack-cost/"
BUDGETS = {FIRST: "words"}
"""Attack -> what it calls a unit of its budget, where that is not ``budget``."""

UNITS = ("budget", "queries", "flops")
"""What is spent on a passage: units of the budget (words changed, characters changed, sentences put in),
texts the model is asked for, FLOPs of encoding these. Of an attack on the corpus: on all its passages."""

LEVELS = ("top10_rate", "success_rate", "rank_boost")
"""What is to be reached."""

DEFAULT = "0.5"
NOT_REACHED = "RATE_NOT_REACHED"
AT_START = "RATE_REACHED_UNATTACKED"

_SYNTAX = f"{PREFIX}UNIT[@[LEVEL=]VALUE], such as {PREFIX}queries@0.5, or {PREFIX}ATTACK/UNIT[…]"


def is_attack_cost(metric: str) -> bool:
    """Whether a metric is one that this module computes."""
    return metric.startswith(PREFIX)


def with_attack_cost(table: pd.DataFrame, metric: str, drop: bool) -> tuple[pd.DataFrame, list[LeftOut]]:
    """The table with the column ``metric``, and the rows without: those whose attack never reaches the level.

    A row that reaches it without an edit has no cost either. Args: ``drop``: whether rows without a cost may
    be left out.

    Raises:
        ConfigError: The name of the metric is malformed.
        TableError: The table has no curve.
        FitRefusedError: Rows have no cost and ``drop`` does not allow to leave them out, or none has one.
    """
    attack, unit, level, target = _parse(metric)
    rates, spent = _curves(table, attack, level, unit)
    costs = np.array([cost_at(rate, own, target) for rate, own in zip(rates, spent)])
    wanted = f"{level} of {target:g}"
    bare = np.asarray(np.isnan(rates).all(axis=1))
    free = np.array([cost == 0 for cost in costs.tolist()])
    unreached = np.isnan(costs) & ~bare
    left = LeftOut.of(table, unreached, f"whose attack never reaches a {wanted}", NOT_REACHED)
    left += LeftOut.of(table, free, f"with a {wanted} before anything is changed", AT_START)
    left += LeftOut.of(table, bare, "without a curve of an attack")
    out = bare | unreached | free
    if left and (not drop or out.all()):
        hint = "choose another level" + ("" if drop else ", or leave them out with --drop-invalid")
        raise FitRefusedError(left[0].code, f"{metric}: {'; '.join(map(str, left))}; {hint}")
    return table.assign(**{metric: costs})[~out], left


def cost_at(rates: Floats, spent: Floats, target: float) -> float:
    """What is spent where a curve first reaches ``target``; 0 where it starts there, NaN where it never does.

    ``rates``, ``spent``: float64[m + 1] at budgets of 0 to m units, the second not decreasing. NaN at the end
    of both stands for budgets that a run did not have.
    """
    reached = np.flatnonzero(rates >= target)
    if not len(reached):
        return float("nan")
    after = int(reached[0])
    if after == 0:
        return 0.0
    share = (target - rates[after - 1]) / (rates[after] - rates[after - 1])
    return float(spent[after - 1] + share * (spent[after] - spent[after - 1]))


def _parse(metric: str) -> tuple[str, str, str, float]:
    """Attack, unit, name of the level and its value."""
    named, _, rest = metric.removeprefix(PREFIX).partition("@")
    attack, slash, unit = named.rpartition("/")
    attack = attack if slash else FIRST
    units = (BUDGETS.get(attack, UNITS[0]), *UNITS[1:])
    level, equals, value = (rest or DEFAULT).partition("=")
    if not equals:
        level, value = LEVELS[0], level
    try:
        target = float(value)
    except ValueError:
        target = float("nan")
    if unit not in units:
        raise ConfigError(f"{metric}: {unit or 'nothing'} is no unit; choose one of {', '.join(units)}")
    if level not in LEVELS:
        raise ConfigError(f"{metric}: {level} is no level; choose one of {', '.join(LEVELS)}")
    highest = np.inf if level == "rank_boost" else 1.0
    if not (0 < target <= highest and np.isfinite(target)):
        limits = "above 0" if highest > 1 else "above 0 and at most 1"
        raise ConfigError(f"{metric}: the {level} must be a number {limits}; write {_SYNTAX}")
    return attack, unit, level, target


def _curves(table: pd.DataFrame, attack: str, level: str, unit: str) -> tuple[Floats, Floats]:
    """The level and what a passage costs, float64[k, m + 1], at budgets of 0 to m units."""
    prefix = prefix_of(attack)
    budgets = _budgets(table, attack, f"{prefix}/curve/{level}")
    rates = _columns(table, [f"{prefix}/curve/{level}@{units}" for units in budgets])
    if unit not in UNITS[1:]:
        return rates, np.broadcast_to(np.array(budgets, dtype=np.float64), rates.shape)
    spent = _columns(table, [f"{prefix}/curve/queries@{units}" for units in budgets])
    if f"{prefix}/targets" in table:  # what was put into the corpus is for all queries
        spent = spent / _columns(table, [f"{prefix}/targets"])
    return rates, spent if unit == "queries" else spent * _flops_of_a_text(table, attack)


def _flops_of_a_text(table: pd.DataFrame, attack: str) -> Floats:
    """float64[k, 1]; runs of earlier versions say it of all attacks together, of which they had one."""
    own = f"adv/{attack}/flops"
    if own not in table:
        return _columns(table, ["cost/attack_flops"]) / _columns(table, ["cost/attack_queries"])
    found = _columns(table, [own]) / _columns(table, [f"{prefix_of(attack)}/queries"])
    if attack == FIRST and np.isnan(found).any():
        earlier = _columns(table, ["cost/attack_flops"]) / _columns(table, ["cost/attack_queries"])
        found = np.where(np.isnan(found), earlier, found)
    return found


def _budgets(table: pd.DataFrame, attack: str, curve: str) -> list[int]:
    pattern = re.compile(rf"{re.escape(curve)}@(\d+)")
    found = [match for name in map(str, table.columns) if (match := pattern.fullmatch(name))]
    if not found:
        raise TableError(
            f"the table has no column {curve}@0, …: runs record it with attack={attack}, but for a replay"
        )
    return sorted(int(match[1]) for match in found)


def _columns(table: pd.DataFrame, names: Sequence[str]) -> Floats:
    require_columns(table, *names)
    return np.stack([numbers(table[name]) for name in names], axis=1)
