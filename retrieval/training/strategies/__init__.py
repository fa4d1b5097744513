"""Optimisation strategies: one file each, found by name."""

from __future__ import annotations

from retrieval.config import StrategyConfig
from retrieval.training.strategies.base import Strategy
from retrieval.training.strategies.pareto import Pareto
from retrieval.training.strategies.standard import Standard

STRATEGIES: dict[str, type[Strategy]] = {kind.name: kind for kind in (Standard, Pareto)}


def build_strategy(config: StrategyConfig, seed: int) -> Strategy:
    """The strategy that ``config.name`` names."""
    return STRATEGIES[config.name](config, seed)
