"""Scaling laws as objects. Each module of a form registers it; importing the package registers all.

A law added as a file of this folder is known to the fitter and the commands with no other change.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from sweeps.fitting.laws.base import EXPONENT_BOUNDS, MAX_SHIFT, Law, Parameter
from sweeps.fitting.laws.coordinates import Centre, Floats, Points
from sweeps.fitting.laws.floors import chance_level
from sweeps.fitting.laws.registry import LAWS, alone, get_law, law_help, plain_names, register
from sweeps.fitting.laws.separable import Separable

__all__ = [
    "EXPONENT_BOUNDS",
    "LAWS",
    "MAX_SHIFT",
    "Centre",
    "Floats",
    "Law",
    "Parameter",
    "Points",
    "Separable",
    "alone",
    "chance_level",
    "get_law",
    "law_help",
    "plain_names",
    "register",
]

_FIRST = ("single", "joint", "additive")
"""Of forms that describe a table equally well the first in this order is preferred."""

for _name in (*_FIRST, *(module.name for module in iter_modules(__path__))):
    import_module(f"{__name__}.{_name}")
