"""Candidate forms of E(ω, D, N). Each module makes its own; their order here is that of equals."""

from sweeps.mixture.forms import effective_data, exponentials, quadratic
from sweeps.mixture.forms.base import Form, Inputs

__all__ = ["FORMS", "Form", "Inputs"]

FORMS = {form.name: form for module in (effective_data, exponentials, quadratic) for form in module.FORMS}
"""Every form by name, in the order in which equals are preferred."""
