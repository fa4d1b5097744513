"""Which rule of ω a configuration means."""

from __future__ import annotations

from retrieval.config import DEFAULT_RULES, StrategyConfig

AUTO = "auto"
"""Value of ``strategy.rule`` that leaves the choice to what else is given."""


def chosen_rule(strategy: StrategyConfig, robust_dev: bool) -> str:
    """The rule of ω that ``strategy.rule`` stands for; ``robust_dev``: whether there are such domains."""
    if strategy.rule != AUTO:
        return strategy.rule
    given = (("law", strategy.mixture), ("dro", strategy.frontier), ("fixed", strategy.omega))
    # Perturbed passages are those of in-domain pairs: that a pair is repeated says nothing about them.
    default = DEFAULT_RULES[0 if robust_dev else 1] if strategy.robust == "ood" else "dro"
    return next((rule for rule, value in given if value is not None), default)
