"""The rules of ω, one file each; importing this package registers them all."""

from __future__ import annotations

from retrieval.training.omega.rules import (
    anchor,
    dev,
    dro,
    fixed,
    gap,
    gradients,
    guarded,
    law,
    linear,
    proxy,
    repeats,
    schedule,
    soup,
)

MODULES = (anchor, dev, dro, fixed, gap, gradients, guarded, law, linear, proxy, repeats, schedule, soup)
"""In alphabetical order."""
