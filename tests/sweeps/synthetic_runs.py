"""Run folders whose metrics follow known laws, written as training writes them."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MODELS = {"bert-tiny": 495_616, "bert-mini": 3_356_416, "bert-small": 13_003_520, "bert-medium": 25_613_312}
DOMAINS = ("stdlib", "networkx", "language")
IN_DOMAIN_PAIRS = 28_000
CONFIG = "seed: 1\ntrain: {steps: 200, batch_size: 64, lr: 0.001, warmup: 0.1, precision: auto}\n"
MANIFEST = {
    "git": {"commit": "0123456789abcdef", "dirty": False},
    "versions": {"torch": "2.13.0"},
    "cpu": {"model": "A processor", "cores": 2},
    "device": "cpu",
}


@dataclass(frozen=True)
class Sweep:
    """What to write; strategies are names of ``STRATEGIES``."""

    models: tuple[str, ...] = ("bert-tiny", "bert-mini", "bert-small")
    fractions: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 1.0)
    strategies: tuple[str, ...] = ("standard", "pareto")
    seeds: tuple[int, ...] = (1,)
    noise: float = 0.01
    steps: int = 200
    extra: dict[str, Any] = field(default_factory=dict)


# Data that the strategy is worth for effectiveness and for robustness, ω at the end, rule.
STRATEGIES: dict[str, tuple[float, float, float | None, str | None]] = {
    "standard": (1.0, 1.0, None, None),
    "hard-negative": (1.4, 1.1, None, None),
    "adversarial": (0.9, 1.3, None, None),
    "pareto": (1.25, 2.5, 0.42, "repeats"),
    "fixed-0": (1.0, 1.0, 0.0, "fixed"),
    "fixed-0.25": (1.2, 1.9, 0.25, "fixed"),
    "fixed-0.5": (1.1, 2.3, 0.5, "fixed"),
    "fixed-0.75": (0.8, 2.4, 0.75, "fixed"),
    "fixed-1": (0.25, 1.7, 1.0, "fixed"),
}


def entropy(n: float, d: float, data_worth: float, ood: bool) -> float:
    """Contrastive entropy of the joint form with floor; more data is worth ``data_worth`` × as much."""
    a, alpha, b, beta, floor = (2e5, 0.30, 9e3, 0.42, 0.55) if not ood else (3e5, 0.22, 3.2e4, 0.33, 1.7)
    return ((a / n) ** (alpha / beta) + b / (d * data_worth)) ** beta + floor


def rows(sweep: Sweep) -> list[dict[str, Any]]:
    """One ``result.json`` a run."""
    generator = np.random.default_rng(7)
    found = []
    for model in sweep.models:
        for frac in sweep.fractions:
            for strategy in sweep.strategies:
                found += [_row(sweep, model, frac, strategy, seed, generator) for seed in sweep.seeds]
    return found


def _row(
    sweep: Sweep, model: str, frac: float, strategy: str, seed: int, generator: np.random.Generator
) -> dict[str, Any]:
    eff_worth, ood_worth, omega, rule = STRATEGIES[strategy]
    name = "pareto" if rule else strategy
    cell = f"{model}_pydocs_f{frac:g}_{strategy}_s{seed}"
    n, d = MODELS[model], round(frac * IN_DOMAIN_PAIRS)
    wobble = np.exp(sweep.noise * generator.standard_normal(1 + len(DOMAINS)))
    eff = entropy(n, d, eff_worth, ood=False) * wobble[0]
    shift = dict(zip(DOMAINS, (1.0, 0.9, 1.1)))
    ood = {k: entropy(n, d, ood_worth, True) * shift[k] * w for k, w in zip(DOMAINS, wobble[1:])}
    row: dict[str, Any] = {
        "run": f"{cell}_{zlib.crc32(cell.encode()):08x}",
        **{"model": model, "data": "pydocs", "frac": frac, "strategy": name, "seed": seed},
        **{"base_strategy": "standard", "omega/rule": rule, "omega/final": omega},
        "omega/target_source": "prior" if rule == "repeats" else None,
        "size/params_non_embedding": n,
        "size/params_total": n + 2_000_000,
        "data/fingerprint": "c0ffee" * 8,
        "train/pairs_seen": sweep.steps * 64,
        "size/train_pairs": d,
        "eff/contrastive_entropy": eff,
        "ood/contrastive_entropy": float(np.mean(list(ood.values()))),
        "eval/negatives": 256.0,
        "eval/draws": 10.0,
    }
    row |= {f"ood/{k}/contrastive_entropy": v for k, v in ood.items()}
    for prefix, value in [("eff", eff), ("ood", row["ood/contrastive_entropy"])]:
        row |= {
            f"{prefix}/ndcg@10": float(np.exp(-0.55 * value)),
            f"{prefix}/mrr@10": float(np.exp(-0.6 * value)),
        }
        row |= {f"{prefix}/recall@100": float(np.exp(-0.12 * value))}
        row |= {f"bm25/{prefix}/ndcg@10": 0.31 if prefix == "eff" else 0.24}
    for k, v in ood.items():
        row |= {f"ood/{k}/ndcg@10": float(np.exp(-0.55 * v)), f"bm25/ood/{k}/ndcg@10": 0.22}
    flops = 6.0 * n * sweep.steps * 64 * 96
    row |= {"cost/train_flops": flops, "cost/train_seconds": flops / 8e10, "cost/eval_seconds": 9.5}
    row |= {"cost/pairs_per_second": sweep.steps * 64 / (flops / 8e10), "cost/mfu": 0.31}
    row |= {"cost/peak_memory_bytes": 1.1e9 + 16 * n, "warnings": []}
    return row | sweep.extra


def table(sweep: Sweep) -> pd.DataFrame:
    """The runs as a table."""
    return pd.DataFrame(rows(sweep))


def write_runs(folder: Path, sweep: Sweep) -> Path:
    """Write run directories as training leaves them; returns ``folder``."""
    generator = np.random.default_rng(11)
    for row in rows(sweep):
        run = folder / row["run"]
        run.mkdir(parents=True)
        (run / "result.json").write_text(json.dumps(row), encoding="utf-8")
        (run / "status.json").write_text(json.dumps({"state": "done"}), encoding="utf-8")
        (run / "config.yaml").write_text(CONFIG, encoding="utf-8")
        (run / "manifest.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
        lines = [
            json.dumps(_step(row, step, sweep.steps, generator)) for step in range(10, sweep.steps + 1, 10)
        ]
        (run / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _step(row: dict[str, Any], step: int, steps: int, generator: np.random.Generator) -> dict[str, Any]:
    decay = np.exp(-4 * step / steps)
    jitter = np.exp(0.05 * generator.standard_normal(2))
    eff = (row["eff/contrastive_entropy"] * 0.6 + 2.5 * decay) * jitter[0]
    line = {
        "step": step,
        "train/loss": eff,
        "train/lr": 1e-3 * (1 - step / steps),
        "train/pairs_per_second": 900.0,
    }
    if row["omega/rule"] == "repeats":
        rob = (row["ood/contrastive_entropy"] * 0.5 + 2.8 * decay) * jitter[1]
        omega = row["omega/final"] + (0.5 - row["omega/final"]) * decay + 0.01 * generator.standard_normal()
        line |= {"train/loss_eff": eff, "train/loss_rob": rob, "train/omega": omega}
        line |= {"train/omega_distance": rob - eff, "train/loss": (1 - omega) * eff + omega * rob}
    return line
