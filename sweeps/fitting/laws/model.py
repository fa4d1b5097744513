"""The law in model size alone."""

from __future__ import annotations

from sweeps.fitting.laws.power import MODEL_TERM, SingleTerm
from sweeps.fitting.laws.registry import register


@register
class Model(SingleTerm):
    """``(A/N)^α + δ``, arXiv 2403.18684 eq 6."""

    stem = "model"
    text = "(A/N)^α"
    about = "the law in N alone of arXiv 2403.18684, eq 6"
    terms = (MODEL_TERM,)
