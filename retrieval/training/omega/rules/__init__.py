"""The rules of ω, one file each; importing this package registers them all."""

from __future__ import annotations

from retrieval.training.omega.rules import dev, dro, fixed, gap, gradients, linear, schedule

__all__ = ["dev", "dro", "fixed", "gap", "gradients", "linear", "schedule"]
