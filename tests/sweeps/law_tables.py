"""Tables that follow a known law, with or without noise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.published import PUBLISHED
from sweeps.fitting.laws import get_law
from sweeps.fitting.points import Columns

COLUMNS = Columns("N", "D")
SIZES = tuple(np.geomspace(4e5, 8.6e7, 6))
PAIRS = tuple(np.geomspace(5e3, 5e5, 5))
JOINT = PUBLISHED["fang2024-msmarco-joint"][1]
SHARED = Path(os.environ.get("PARETRIEVE_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
OLMO = SHARED / "tables" / "olmo_ladder_c4.csv"
OLMO_COLUMNS = Columns("params_non_embedding", "tokens", "rerun")


def law_table(
    law: str = "joint",
    params: dict[str, float] | None = None,
    sizes: Sequence[float] = SIZES,
    pairs: Sequence[float] = PAIRS,
    seeds: int = 1,
    seed_sd: float = 0.0,
    configuration_sd: float = 0.0,
    chance: float | None = None,
    random: int = 0,
) -> pd.DataFrame:
    """Columns ``N, D, seed, y``; the two standard deviations are in ln units."""
    generator = np.random.default_rng(random)
    rows = []
    for n in sizes:
        for d in pairs:
            base = float(np.log(get_law(law).predict(params or JOINT, n, d, chance)))
            base += configuration_sd * generator.standard_normal()
            for seed in range(seeds):
                value = float(np.exp(base + seed_sd * generator.standard_normal()))
                rows.append({"N": n, "D": d, "seed": seed, "y": value})
    return pd.DataFrame(rows)
