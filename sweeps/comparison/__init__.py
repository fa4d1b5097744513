"""Paired comparison of two strategies in every cell of a sweep, and the regret of rules and of fixed ω."""

from sweeps.comparison.compute import CompareOptions, compare

__all__ = ["CompareOptions", "compare"]
