"""``fixed``: ω stays where it is, one point of the trade-off curve."""

from types import MappingProxyType

from retrieval.training.omega.rule import Rule


class Fixed(Rule):
    """``ω_t = strategy.omega``. Assumes that somebody has found the value, on dev metrics of other runs."""

    name = "fixed"
    moves = False
    needs = MappingProxyType({"omega": "NUMBER, from 0 to 1"})
