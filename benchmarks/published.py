"""Published laws with their coefficients."""

from __future__ import annotations

PUBLISHED: dict[str, tuple[str, dict[str, float]]] = {
    "fang2024-msmarco-model": ("model", {"A": 3.22e4, "alpha": 0.53, "delta": 0.04}),
    "fang2024-msmarco-joint": (
        "joint",
        {"A": 3.6e4, "alpha": 0.56, "B": 7.1e3, "beta": 1.31, "delta": 0.03},
    ),
    "fang2024-t2ranking-model": ("model", {"A": 9.89e6, "alpha": 0.53, "delta": 0.14}),
    "fang2024-t2ranking-data": ("data", {"B": 6.04e4, "beta": 0.50, "delta": 0.15}),
    "hoffmann2022": (
        "additive",
        {"A": 406.4, "alpha": 0.34, "B": 410.7, "beta": 0.28, "delta": 1.69},
    ),
}
"""Published laws: name -> (form, parameters). Sources: arXiv 2403.18684 (N in parameters, D in pairs) and
arXiv 2203.15556 (N in parameters, D in tokens). Rounded as printed, so predictions carry that rounding."""
