"""The law in data alone."""

from __future__ import annotations

from sweeps.fitting.laws.power import DATA_TERM, SingleTerm
from sweeps.fitting.laws.registry import register


@register
class Data(SingleTerm):
    """``(B/D)^β + δ``, arXiv 2403.18684 eq 7."""

    stem = "data"
    text = "(B/D)^β"
    about = "the law in D alone of arXiv 2403.18684, eq 7"
    terms = (DATA_TERM,)
