"""Optimisation strategies: one file each, found by name."""

from __future__ import annotations

from retrieval.config import StrategyConfig
from retrieval.training.strategies.base import Setting, Strategy
from retrieval.training.strategies.pareto import BASES, Pareto
from retrieval.training.strategies.pooled import Pooled

STRATEGIES: dict[str, type[Strategy]] = {**BASES, Pooled.name: Pooled, Pareto.name: Pareto}


def build_strategy(config: StrategyConfig, setting: Setting) -> Strategy:
    """The strategy that ``config.name`` names.

    Raises:
        ConfigError: the frontier file cannot be used, or the perturbation fits no word of the tokenizer.
    """
    return STRATEGIES[config.name](config, setting)
