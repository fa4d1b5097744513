"""Tables of fixed-ω runs that follow a known mixture law, with or without noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sweeps.fitting.laws import Floats
from sweeps.mixture.forms import FORMS, Inputs

EFF, ROB = "dev/eff/contrastive_entropy", "dev/ood/contrastive_entropy"
TINY, MINI, SMALL = 495_616, 3_356_416, 13_003_520
PAIRS = (1431, 2861, 7152, 14304, 28608)
OMEGAS = (0.0, 0.1, 0.25, 0.5, 0.75)
STEPS, PER_STEP = 600, 64.0

# [data term, ln β, ln repetition, ln worth, ln pool/seen, model term, ln α], about bert-tiny on pydocs.
EFF_THETA = (0.74, np.log(0.30), np.log(0.64), np.log(0.33), np.log(0.126), -200.0, np.log(0.3))
ROB_THETA = (1.36, np.log(0.139), np.log(6.9), np.log(2.5), np.log(0.27), -200.0, np.log(0.3))
ROB_FORM = "effective-data-smooth"


def conditions(omega: Floats, n: Floats, d: Floats) -> Inputs:
    """Inputs of the planted law; its units of N and D are fixed."""
    return Inputs(omega, n, d, STEPS * PER_STEP, 1e6, 6400.0)


def planted(omega: Floats, n: Floats, d: Floats, sized: bool = False) -> tuple[Floats, Floats]:
    """E and R [k] of the planted law; ``sized``: with a model term."""
    values = []
    for name, theta in (("effective-data", EFF_THETA), (ROB_FORM, ROB_THETA)):
        row = np.array(theta)
        if sized:
            row[5] = row[0] - 1.5
        values.append(FORMS[name].values(row[None, :], conditions(omega, n, d))[0])
    return values[0], values[1]


def best(d: float, n: float = TINY, goal: str = "knee", sized: bool = False) -> float:
    """The planted law's own optimum, by a fine grid."""
    omega = np.linspace(0, 1, 20_001)
    eff, rob = planted(omega, np.full_like(omega, n), np.full_like(omega, d), sized)
    return float(omega[np.argmin({"knee": eff + rob, "eff": eff, "rob": rob}[goal])])


def mixture_table(
    pairs: Sequence[int] = PAIRS,
    omegas: Sequence[float] = OMEGAS,
    sizes: Sequence[int] = (TINY,),
    seeds: int = 2,
    noise: float = 0.008,
    random: int = 0,
) -> pd.DataFrame:
    """One row a run; ``noise`` is the standard deviation of ln metric between seeds."""
    generator = np.random.default_rng(random)
    rows = []
    for n in sizes:
        for d in pairs:
            for omega in omegas:
                at = (np.array([omega]), np.array([float(n)]), np.array([float(d)]))
                eff, rob = (float(part[0]) for part in planted(*at, sized=len(sizes) > 1))
                for seed in range(1, seeds + 1):
                    wobble = np.exp(noise * generator.standard_normal(2))
                    rows.append(_row(n, d, omega, seed) | {EFF: eff * wobble[0], ROB: rob * wobble[1]})
    return pd.DataFrame(rows)


def _row(n: int, d: int, omega: float, seed: int) -> dict[str, object]:
    fixed = omega > 0
    return {
        "run": f"n{n}_d{d}_w{omega:g}_s{seed}",
        "model": {TINY: "bert-tiny", MINI: "bert-mini", SMALL: "bert-small"}.get(n, str(n)),
        "data": "pydocs",
        "frac": round(d / 28608, 4),
        "strategy": "pareto" if fixed else "standard",
        "base_strategy": "standard",
        "omega/rule": "fixed" if fixed else None,
        "omega/robust": "ood" if fixed else None,
        "omega/final": omega if fixed else None,
        "seed": seed,
        "size/params_non_embedding": n,
        "size/train_pairs": d,
        "train/steps": STEPS,
        "train/pairs_per_step": PER_STEP,
        "eval/negatives": 256,
    }
