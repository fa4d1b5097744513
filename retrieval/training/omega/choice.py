"""Which rule of ω a configuration means."""

from __future__ import annotations

from collections.abc import Collection

from retrieval.config import DEFAULT_RULES, StrategyConfig
from retrieval.config.strategy import RULES

AUTO = "auto"
"""Value of ``strategy.rule`` that leaves the choice to what else is given."""


def chosen_rule(strategy: StrategyConfig, dev: Collection[str]) -> str:
    """The rule of ω that ``strategy.rule`` stands for; ``dev``: sides with dev pairs."""
    if strategy.rule != AUTO:
        return strategy.rule
    given = (("law", strategy.mixture), ("dro", strategy.frontier), ("fixed", strategy.omega))
    named = next((rule for rule, value in given if value is not None), None)
    if named is not None or strategy.robust != "ood":
        # Perturbed passages are those of in-domain pairs: that a pair is repeated says nothing about them.
        return named or "dro"
    possible = (name for name in DEFAULT_RULES if set(RULES[name].measures) <= set(dev))
    return next(n for n in possible if strategy.mixing == "steps" or not RULES[n].trains_proxies)
