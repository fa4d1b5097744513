"""What the logged steps of a run say in one row of the table: columns ``trace/…``, from ``metrics.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sweeps.table.cells import Floats

PREFIX = "trace/"

LOSSES = {"eff": "train/loss_eff", "rob": "train/loss_rob"}
DEV_LOSSES = {"eff": "val/eff_dev_loss", "rob": "val/rob_dev_loss"}
OMEGA = "train/omega"

LAST, SETTLED, LEAST_POINTS = 0.1, 0.05, 5
"""Share of the steps over which a final loss is a mean; distance of ω that counts as settled; steps that a
rank correlation needs."""


def columns(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Columns of a run from the lines of its ``metrics.jsonl``; those that it does not log are left out.

    Returns:
        ``trace/loss_eff``, ``trace/loss_rob``: means of the training losses over the last tenth of the steps.
        ``trace/dev_loss_eff``, ``trace/dev_loss_rob``: the last dev losses.
        ``trace/agree_eff``, ``trace/agree_rob``: Spearman's rank correlation of a training loss with its dev
        loss over the steps that log both.
        ``trace/omega_mean``, ``trace/omega_spread``: mean and standard deviation of ω over the second half of
        the steps.
        ``trace/omega_settled``: share of the steps after which ω stays within 0.05 of that mean; 1 if it
        never does.
        ``trace/omega_turns``: share of the logged steps of the second half at which ω changes direction.
    """
    found: dict[str, float] = {}
    for name in ("eff", "rob"):
        steps, losses = _series(lines, LOSSES[name])
        if len(losses):
            found[f"loss_{name}"] = float(losses[steps > (1 - LAST) * steps[-1]].mean())
        at, dev = _series(lines, DEV_LOSSES[name])
        if len(dev):
            found[f"dev_loss_{name}"] = float(dev[-1])
        both, own, others = np.intersect1d(steps, at, return_indices=True)
        if len(both) >= LEAST_POINTS and np.ptp(losses[own]) > 0 and np.ptp(dev[others]) > 0:
            from scipy import stats  # tables are read by commands that compute nothing

            found[f"agree_{name}"] = float(stats.spearmanr(losses[own], dev[others]).statistic)
    return {PREFIX + key: value for key, value in (found | _of_omega(*_series(lines, OMEGA))).items()}


def _of_omega(steps: Floats, omega: Floats) -> dict[str, float]:
    if not len(omega):
        return {}
    late = omega[steps > steps[-1] / 2]
    away = np.flatnonzero(np.abs(omega - late.mean()) > SETTLED)
    moves = np.diff(late)
    moves = moves[moves != 0]
    return {
        "omega_mean": float(late.mean()),
        "omega_spread": float(late.std()),
        "omega_settled": float(steps[away[-1]] / steps[-1]) if len(away) else 0.0,
        "omega_turns": float(np.sum(moves[1:] * moves[:-1] < 0) / len(late)),
    }


def _series(lines: Sequence[Mapping[str, Any]], key: str) -> tuple[Floats, Floats]:
    """Steps and finite values of a key, in the order of the steps."""
    pairs = [(line["step"], value) for line in lines if isinstance(value := line.get(key), int | float)]
    found = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    found = found[np.isfinite(found[:, 1])]
    return found[:, 0], found[:, 1]
