"""The logged steps of runs whose ω moves, from ``runs/<run>/metrics.jsonl``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from retrieval.run.files import read_metrics

OMEGA, DISTANCE = "train/omega", "train/omega_distance"


def omega_traces(runs: pd.DataFrame, folder: Path | None, limit: int = 6) -> dict[str, pd.DataFrame]:
    """Configuration -> its first run's logged steps, for runs in which ω moved.

    Args:
        runs: labelled runs.
        folder: folder of the run directories; ``None`` gives nothing.
        limit: at most so many traces, spread over the configurations.
    """
    if folder is None or "strategy" not in runs:
        return {}
    moving = runs[runs["strategy"] == "pareto"]
    if "omega/rule" in moving:
        moving = moving[moving["omega/rule"] != "fixed"]
    found = {}
    for name, part in moving.groupby("configuration", sort=False):
        steps = pd.DataFrame(read_metrics(folder / str(part.iloc[0]["run"]) / "metrics.jsonl"))
        if OMEGA in steps and steps[OMEGA].notna().any():
            found[str(name)] = steps[steps[OMEGA].notna()]
    kept = _spread(list(found), limit)
    return {name: found[name] for name in kept}


def _spread(names: Sequence[str], limit: int) -> list[str]:
    if len(names) <= limit:
        return list(names)
    return [names[round(i * (len(names) - 1) / (limit - 1))] for i in range(limit)]
