"""What a strategy is: which pairs a batch holds, which losses are minimised, and what that needs and costs.

A batch has one block of pairs for each ranking loss: in-domain pairs as they are, in-domain pairs with
perturbed passages, pairs of the robust-training domains. A strategy is two mixtures of these losses, L_eff
and L_rob. Everything else follows here, once for all strategies, from the configuration alone: the plan of a
sweep, validation, the preparation of data and training ask the same questions. Computing the losses is the
work of :class:`retrieval.training.objective.Objective`; nothing here needs PyTorch.

``strategy.mixing`` says how the weight ω of L_rob acts. With ``steps`` a batch holds one block, and ω is the
share of the steps that minimise L_rob. With ``loss`` a batch holds all blocks, and ω weighs the losses of
every step.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

from retrieval.config import Config, StrategyConfig
from retrieval.config.registry import Registered
from retrieval.config.strategy import PERTURBATIONS, STRATEGIES, check_margin, check_own_keys
from retrieval.errors import ConfigError

BLOCKS = IN_DOMAIN, PERTURBED, OTHER_DOMAINS, POOLED = "in-domain", "perturbed", "other-domains", "pooled"
"""Blocks of a batch, in the order in which they are laid out."""

EFF, ROB = "eff", "rob"
"""The two terms of the loss."""

STEPS = "steps"
"""Value of ``strategy.mixing``: each step minimises one loss."""

Mixture = Mapping[str, float]
"""Block -> weight of its ranking loss; the weights sum to one."""


class Strategy(Registered, ABC, registry=STRATEGIES):
    """Optimisation strategy. A subclass with a ``name`` registers itself."""

    name: ClassVar[str]
    is_base: ClassVar[bool] = False
    """Whether ``strategy=pareto`` may take it as its ``strategy.base``."""
    has_omega: ClassVar[bool] = False
    """Whether a rule chooses ω; else it is ½."""
    objective: ClassVar[str] = "retrieval.training.objective:Objective"
    """What computes the losses in a run, as ``module:class``: for a loss of one's own, a subclass."""
    options: ClassVar[type[StrategyConfig] | None] = None
    """Schema of a strategy with keys of its own; its YAML file names it as ``<name>_schema``."""
    reads: ClassVar[frozenset[str]]
    """Keys of ``strategy`` beside ``name`` that change its runs, where not all do. It holds for the class
    that states it and for no subclass, which may read more."""

    def __init__(self, config: StrategyConfig) -> None:
        self.config = config

    @classmethod
    def unread_keys(cls, config: Mapping[str, Any]) -> frozenset[str]:
        """Keys of ``strategy`` that change no run where it has the values ``config``."""
        if "reads" not in vars(cls):
            return frozenset()
        return frozenset(item.name for item in fields(StrategyConfig)) - {"name", *cls.reads}

    @property
    @abstractmethod
    def eff(self) -> Mixture:
        """L_eff."""

    @property
    def rob(self) -> Mixture | None:
        """L_rob; ``None``: the strategy has none."""
        return None

    @property
    def hard_negatives(self) -> int:
        """Mined negatives that each in-domain query brings beside its positive."""
        return 0

    @property
    def denoised(self) -> bool:
        """Whether a teacher drops false negatives from the mined ones."""
        return False

    @property
    def backward_passes(self) -> int:
        """Backward passes of a step."""
        return 1

    @property
    def base_name(self) -> str:
        """The strategy of the effectiveness loss."""
        return self.name

    @property
    def by_steps(self) -> bool:
        """Whether each step minimises one loss on a whole batch."""
        return self.rob is None or self.config.mixing == STEPS

    @property
    def terms(self) -> dict[str, Mixture]:
        """L_eff and, where the strategy has one, L_rob, by name."""
        return {EFF: self.eff} if self.rob is None else {EFF: self.eff, ROB: self.rob}

    @property
    def shares(self) -> Mixture:
        """The share of each block in a batch of an equal budget: its weight in the loss where ω = ½."""
        if self.rob is None:
            return self.eff
        names = [name for name in BLOCKS if name in {*self.eff, *self.rob}]
        return {name: (self.eff.get(name, 0.0) + self.rob.get(name, 0.0)) / 2 for name in names}

    def trains_proxies(self, cell: Config) -> bool:
        """Whether small models are trained before the run, on its batches."""
        return False

    def negatives_of(self, block: str) -> int:
        """Mined negatives of each query of a block: pairs of other domains have none."""
        return 0 if block in (OTHER_DOMAINS, POOLED) else self.hard_negatives

    def counts(self, batch_size: int) -> dict[str, int]:
        """Pairs of each block in a step that computes all losses, for ``batch_size`` pairs of the baseline.

        ``budget=equal`` splits these between the blocks; ``extra`` gives every block as many.
        """
        if self.config.budget == "extra":
            return dict.fromkeys(self.shares, batch_size)
        return split(self.shares, batch_size)

    def expected_counts(self, batch_size: int, omega: float) -> dict[str, float]:
        """Pairs of each block in the mean step of a training at the mean weight ``omega``."""
        if self.rob is None or not self.by_steps:
            return {name: float(count) for name, count in self.counts(batch_size).items()}
        share = omega if self.has_omega else 0.5
        parts = ((1 - share, self.eff), (share, self.rob))
        return {name: batch_size * sum(w * part.get(name, 0.0) for w, part in parts) for name in self.shares}

    def check(self, cell: Config) -> None:
        """Refuse a configuration that cannot be trained.

        Raises:
            ConfigError: names the key, the bad value, the valid ones and, where it helps, the fix.
        """
        check_own_keys(self.config, type(self))
        if self.denoised:
            check_margin(self.config.denoise)
        if self.rob is not None:
            self._check_budget(cell.train.batch_size)
        if PERTURBED in self.shares:
            PERTURBATIONS[self.config.perturbation.kind].check(self.config.perturbation)
        if cell.trainer.devices > 1:
            self._check_devices(cell.train.batch_size, cell.trainer.devices)
        for key in () if self.has_omega else ("omega", "frontier", "mixture", "recalibrate"):
            value = getattr(self.config, key)
            if value != getattr(StrategyConfig(), key):
                raise ConfigError(f"strategy.{key}={value} would not be used: only strategy=pareto has an ω")

    def _check_budget(self, batch_size: int) -> None:
        """With an equal budget every loss needs two pairs of the batch: one is the other's negative."""
        budget = self.config.budget
        if self.by_steps and budget != "equal":
            raise ConfigError(
                f"strategy.budget={budget} would not be used with strategy.mixing=steps, where each "
                "step is one whole batch; set strategy.mixing=loss"
            )
        least = math.ceil(2 / min(self.shares.values()))
        if not self.by_steps and budget == "equal" and batch_size < least:
            raise ConfigError(
                f"train.batch_size={batch_size} cannot be split between the losses; "
                f"use {least} or more, or strategy.budget=extra"
            )

    def _check_devices(self, batch_size: int, devices: int) -> None:
        kind = self.config.perturbation.kind
        if PERTURBED in self.shares and PERTURBATIONS[kind].one_device:
            several = ", ".join(name for name, part in PERTURBATIONS.items() if not part.one_device)
            raise ConfigError(
                f"strategy.perturbation.kind={kind} works on one device, not on trainer.devices={devices}; "
                f"use {several}, or trainer.devices=1"
            )
        fewest = batch_size if self.by_steps else min(self.counts(batch_size).values())
        if fewest < devices:
            raise ConfigError(
                f"train.batch_size={batch_size} cannot be shared by trainer.devices={devices}; "
                "use a larger batch, or fewer devices"
            )


def strategy_of(config: StrategyConfig) -> Strategy:
    """The strategy that ``config.name`` names.

    Raises:
        ConfigError: no strategy has this name.
    """
    strategy: Strategy = STRATEGIES[config.name](config)
    return strategy


def split(shares: Mixture, total: int) -> dict[str, int]:
    """``total`` pairs divided by ``shares``, remainders to the largest fractions, the first of ties."""
    counts = {name: int(share * total) for name, share in shares.items()}
    by_fraction = sorted(shares, key=lambda name: counts[name] - shares[name] * total)
    for name in by_fraction[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
