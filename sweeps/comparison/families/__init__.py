"""Model families held against each other: exponents, values at equal N, D and FLOPs, and frontiers."""

from sweeps.comparison.families.compute import FamiliesOptions, families

__all__ = ["FamiliesOptions", "families"]
