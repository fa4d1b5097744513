"""Run directories with per-query scores of a known mixed model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class Truth:
    """Level + strategy + log₂(frac)·doubling + run + collection + query + run × collection + residual."""

    strategies: Mapping[str, float] = field(default_factory=lambda: {"standard": 0.0, "adversarial": -0.3})
    doubling: float = -0.2
    fractions: tuple[float, ...] = (0.25, 0.5, 1.0)
    seeds: int = 3
    collections: int = 3
    queries: int = 60
    level: float = 3.0
    run: float = 0.05
    collection: float = 0.5
    query: float = 1.0
    cell: float = 0.05
    residual: float = 0.4


def write_scores(folder: Path, truth: Truth, seed: int) -> pd.DataFrame:
    """Write the runs of one simulation; returns the table of runs."""
    rows, scores = simulate(truth, seed)
    for row, own in zip(rows, scores):
        write_run(folder / str(row["run"]), row, own)
    return pd.DataFrame(rows)


Row = dict[str, Any]


def simulate(truth: Truth, seed: int) -> tuple[list[Row], list[dict[str, NDArray[np.float64]]]]:
    """The result of every run, and its scores by set, [queries]."""
    generator = np.random.default_rng(seed)
    names = ["eff", *(f"ood/domain{k}" for k in range(1, truth.collections))]
    where = truth.collection * generator.standard_normal(len(names))
    queries = truth.query * generator.standard_normal((len(names), truth.queries))
    rows, scores = [], []
    for strategy, effect in truth.strategies.items():
        for frac in truth.fractions:
            for number in range(1, truth.seeds + 1):
                base = truth.level + effect + truth.doubling * np.log2(frac)
                base += truth.run * generator.standard_normal()
                row = {
                    "run": f"{strategy}_f{frac:g}_s{number}",
                    **{"model": "bert-tiny", "data": "toy", "frac": frac, "strategy": strategy},
                    **{"seed": number, "size/params_non_embedding": 1000, "eval/negatives": 256.0},
                    "size/train_pairs": 1000 * frac,
                }
                own = (
                    base + where[:, None] + queries + truth.cell * generator.standard_normal((len(names), 1))
                )
                own = own + truth.residual * generator.standard_normal(queries.shape)
                row |= {f"{name}/contrastive_entropy": own[k].mean() for k, name in enumerate(names)}
                rows.append(row)
                scores.append(dict(zip(names, own)))
    return rows, scores


def write_run(folder: Path, row: Mapping[str, object], scores: Mapping[str, NDArray[np.float64]]) -> None:
    """One finished run: its result and its scores by set."""
    (folder / "scores").mkdir(parents=True)
    (folder / "status.json").write_text(json.dumps({"state": "done"}))
    (folder / "result.json").write_text(json.dumps({**row, "warnings": []}))
    tables = [
        pd.DataFrame(
            {
                "set": name,
                "query_id": [f"q{k}" for k in range(len(values))],
                "contrastive_entropy": values.astype(np.float32),
                "ndcg@10": np.exp(-values).astype(np.float32),
            }
        )
        for name, values in scores.items()
    ]
    pd.concat(tables).to_parquet(folder / "scores" / "queries.parquet", index=False)
