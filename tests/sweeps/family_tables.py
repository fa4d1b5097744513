"""Tables of several model families whose metrics follow planted laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

EFF, OOD = "eff/contrastive_entropy", "ood/contrastive_entropy"
SIZE, PAIRS, FLOPS = "size/params_non_embedding", "size/train_pairs", "cost/train_flops"
FRACTIONS = (0.05, 0.1, 0.25, 0.5, 1.0)
ALL_PAIRS = 28_000


@dataclass(frozen=True)
class Family:
    """Loss ``scale·(N/10⁶)^−alpha·(D/10⁴)^−beta``, robustness 1.5 times as much; sizes ``larger`` times."""

    name: str
    beta: float = 0.3
    alpha: float = 0.1
    scale: float = 2.0
    larger: float = 1.0
    flops: float = 1.0
    """Training FLOPs per parameter, in 10⁵."""


def table(
    families: Sequence[Family],
    sizes: Sequence[float] = (1e6,),
    fractions: Sequence[float] = FRACTIONS,
    seeds: int = 3,
    noise: float = 0.0,
    strategies: Sequence[str] = ("standard",),
    random: int = 0,
) -> pd.DataFrame:
    """One row a run; dual encoders state no family, as runs of this project leave it out."""
    generator = np.random.default_rng(random)
    rows = []
    for family in families:
        for size in sizes:
            for frac in fractions:
                for strategy in strategies:
                    for seed in range(seeds):
                        rows.append(
                            _row(family, size, frac, strategy, seed, noise * generator.normal(size=2))
                        )
    return pd.DataFrame(rows)


def _row(
    family: Family, size: float, frac: float, strategy: str, seed: int, noise: np.ndarray
) -> dict[str, object]:
    n, d = size * family.larger, frac * ALL_PAIRS
    loss = family.scale * (n / 1e6) ** -family.alpha * (d / 1e4) ** -family.beta
    worth = 1.0 if strategy == "standard" else 0.9
    return {
        "run": f"{family.name}-{size:g}-{frac:g}-{strategy}-{seed}",
        "model": f"m{size:g}",
        "model_family": None if family.name == "dual-encoder" else family.name,
        "frac": frac,
        "strategy": strategy,
        "seed": seed,
        SIZE: n,
        PAIRS: d,
        FLOPS: 1e5 * n * family.flops,
        EFF: loss / worth * np.exp(noise[0]),
        OOD: 1.5 * loss * worth * np.exp(noise[1]),
        "eval/negatives": 256,
    }
