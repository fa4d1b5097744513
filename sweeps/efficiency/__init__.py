"""Efficiency: how many times as much N, D or FLOPs a baseline needs to match a strategy."""

from sweeps.efficiency.compute import efficiency
from sweeps.efficiency.fitted import Fits
from sweeps.efficiency.record import EfficiencyOptions, Resource

__all__ = ["EfficiencyOptions", "Fits", "Resource", "efficiency"]
