"""Scaling laws as objects. Each module of a form registers it; importing the package registers all.

A law added as a file of this folder is known to the fitter and the commands with no other change.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

import numpy as np

from retrieval.errors import ConfigError
from sweeps.fitting.laws.base import EXPONENT_BOUNDS, MAX_SHIFT, Centre, Floats, Law, Parameter, Points, Role
from sweeps.fitting.laws.separable import Separable

__all__ = [
    "EXPONENT_BOUNDS",
    "MAX_SHIFT",
    "Centre",
    "Floats",
    "Law",
    "Parameter",
    "Points",
    "Role",
    "Separable",
]

LAWS: dict[str, Law] = {}
"""Every form by name, in order of registration."""

AnyLaw = TypeVar("AnyLaw", bound=type[Law])


def register(law: AnyLaw) -> AnyLaw:
    """Class decorator: makes the forms of a law known by name."""
    for form in law.forms():
        LAWS[form.name] = form
    return law


def get_law(name: str) -> Law:
    """The form called ``name``; raises ConfigError naming the valid ones."""
    if name not in LAWS:
        raise ConfigError(f"law={name} does not exist; choose one of {', '.join(LAWS)} or auto")
    return LAWS[name]


def growing(name: str) -> str:
    """The form of quantities that grow in the axes of ``name``; raises ConfigError where there is none."""
    grown = [law.name for law in LAWS.values() if law.grows]
    found = name if name in grown else f"{name}-growing"
    if found not in grown:
        stems = ", ".join(law.removesuffix("-growing") for law in grown)
        raise ConfigError(f"--grows --law {name}: no such form grows; choose one of {stems}")
    return found


def alone(axis: str, floor: bool) -> Law:
    """The first form registered that depends on ``axis`` alone, with or without a floor to fit."""
    return next(law for law in LAWS.values() if law.axes == (axis,) and bool(law.places("floor")) == floor)


def plain_names(axes: set[str]) -> list[str]:
    """Names of the forms of losses in at least these axes that stand for their family: the first of each."""
    seen: dict[str, str] = {}
    for law in LAWS.values():
        if axes <= set(law.axes) and not law.grows:
            seen.setdefault(type(law).__name__, law.name)
    return list(seen.values())


def law_help() -> str:
    """One line that names every form, for the commands."""
    return f"auto, {', '.join(LAWS)}."


def chance_level(negatives: int) -> float:
    """Contrastive entropy of constant scores against W random negatives: ln(W + 1)."""
    return float(np.log(negatives + 1))


_FIRST = ("single", "joint", "additive")
"""Of forms that describe a table equally well the first in this order is preferred."""

for _name in (*_FIRST, *(module.name for module in iter_modules(__path__))):
    import_module(f"{__name__}.{_name}")
