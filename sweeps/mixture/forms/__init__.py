"""Candidate forms of E(ω, D, N). Each module registers its own; importing the package registers all."""

from __future__ import annotations

from sweeps.mixture.forms import effective_data, exponentials, quadratic
from sweeps.mixture.forms.base import FORMS, Form, Inputs

__all__ = ["FORMS", "Form", "Inputs", "effective_data", "exponentials", "quadratic"]
