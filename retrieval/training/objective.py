"""The losses of a step and their gradient: what any strategy minimises, computed.

A batch comes with one block of pairs for each ranking loss. One pass encodes all its sequences; the strategy
says how the losses of the blocks make up L_eff and L_rob, and the rule of ω, where there is one, how these
make up the gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from retrieval.config import StrategyConfig
from retrieval.config.strategy import PERTURBATIONS
from retrieval.data.batches import Batch
from retrieval.models.flops import FORWARD, Work
from retrieval.models.scorer import Scorer
from retrieval.training.adversary import AttackedBatch, Perturbed, Vocabulary
from retrieval.training.losses import gathered, own_queries, processes, ranking_loss
from retrieval.training.omega.controller import OmegaController
from retrieval.training.omega.rule import Facts
from retrieval.training.omega.target import load_target
from retrieval.training.perturbation import Perturbation
from retrieval.training.strategy import EFF, PERTURBED, Mixture, Strategy, strategy_of


@dataclass(frozen=True)
class Losses:
    """The terms of a step: 0-d fp32 tensors. ``total`` is what is minimised.

    A term that the step does not measure is ``None``.
    """

    total: Tensor
    eff: Tensor | None
    rob: Tensor | None = None
    blocks: Mapping[str, Tensor] = field(default_factory=dict)
    """The single ranking losses where a term mixes several; else empty."""
    work: Work = field(default_factory=Work)
    """What the step takes, backward passes included."""
    regularisation: Tensor | None = None
    """What the family adds to the ranking loss; ``total`` has it, ``eff`` and ``rob`` do not."""

    def detached(self) -> Losses:
        """The values without the graph."""
        eff, rob = (None if term is None else term.detach() for term in (self.eff, self.rob))
        blocks = {name: loss.detach() for name, loss in self.blocks.items()}
        added = None if self.regularisation is None else self.regularisation.detach()
        return Losses(self.total.detach(), eff, rob, blocks, self.work, added)


@dataclass(frozen=True)
class Setting:
    """What a strategy needs to know of its run beside its own configuration."""

    seed: int
    tokenizer: Any
    where: Mapping[str, Any] = field(default_factory=dict)
    """``model`` and ``frac`` as they stand in the result, and what :class:`Facts` lists."""


class Objective:
    """What a run minimises; one instance per run."""

    def __init__(self, strategy: Strategy, setting: Setting) -> None:
        self.strategy, self.config = strategy, strategy.config
        self.where = setting.where
        self.perturbation: Perturbation | None = None
        if PERTURBED in strategy.shares:
            vocabulary = Vocabulary.of(setting.tokenizer)
            options = self.config.perturbation
            self.perturbation = PERTURBATIONS[options.kind](
                options, vocabulary, setting.seed, setting.tokenizer
            )
        self.control: OmegaController | None = None
        """What moves ω; ``None``: it is ½."""
        if strategy.has_omega:
            target = load_target(self.config.frontier, self.config.robust, setting.where)
            self.control = OmegaController(self.config, Facts(target, setting.where))

    @property
    def omega(self) -> Tensor:
        """Weight of L_rob, 0-d."""
        return torch.tensor(0.5) if self.control is None else self.control.omega

    def choose_by(self) -> float:
        """ω by which the loss of the next step is chosen; see :meth:`OmegaController.choose_by`."""
        return float(self.omega) if self.control is None else self.control.choose_by()

    def prepare(self, batch: Batch) -> Batch:
        """What :meth:`losses` needs of a batch beside its tensors; called while it is on the CPU."""
        return AttackedBatch.of(batch, PERTURBED) if PERTURBED in batch.blocks else batch

    def losses(self, encoder: Scorer, batch: Batch, backward_passes: int | None = None) -> Losses:
        """The terms of a step, from one pass over all its sequences, perturbed where they are to be.

        ``backward_passes``: how many follow; ``None``: as many as a training step takes.
        """
        seen = self._perturb(encoder, batch)
        vectors = gathered(encoder(seen.tokens, seen.offset), batch.shard)
        blocks = {name: block_loss(encoder, vectors, batch, name) for name in batch.blocks}
        added = self._regularisation(encoder, vectors, batch)
        backward = self.strategy.backward_passes if backward_passes is None else backward_passes
        passes = FORWARD + backward * encoder.backward_cost
        work = seen.work + step_work(encoder, seen.sized(batch)) * passes
        if batch.term:
            ((name, loss),) = blocks.items()
            eff, rob = (loss, None) if batch.term == EFF else (None, loss)
            several = len(self.strategy.terms[batch.term]) > 1
            return Losses(plus(loss, added), eff, rob, {name: loss} if several else {}, work, added)
        of_eff, of_rob = self.strategy.eff, self.strategy.rob
        eff = mixed(of_eff, blocks)
        if of_rob is None:
            return Losses(plus(eff, added), eff, None, {}, work, added)
        rob, omega = mixed(of_rob, blocks), self.omega
        single = len(of_eff) == len(of_rob) == 1
        total = plus((1 - omega) * eff + omega * rob, added)
        return Losses(total, eff, rob, {} if single else blocks, work, added)

    def _regularisation(self, encoder: Scorer, rows: Tensor, batch: Batch) -> Tensor | None:
        """Mean over the blocks of a batch whose sequences were encoded to ``rows[n, …]``."""
        progress = batch.step / max(1, int(self.where.get("steps", 1)))
        found = [
            encoder.regularisation(rows[block.queries], rows[block.passages], progress)
            for block in batch.blocks.values()
        ]
        terms = [each for each in found if each is not None]
        return torch.stack(terms).mean() if terms else None

    def _perturb(self, encoder: Scorer, batch: Batch) -> Perturbed:
        if self.perturbation is None or PERTURBED not in batch.blocks:
            return Perturbed(batch.tokens, None, Work())
        attacked = batch if isinstance(batch, AttackedBatch) else AttackedBatch.of(batch, PERTURBED)
        return self.perturbation(encoder, attacked)

    def backward(self, losses: Losses, parameters: list[torch.nn.Parameter]) -> None:
        """Leave the gradient of the step in the parameters.

        Each of several processes knows the loss of the whole step and has the gradient that flows through
        its own sequences: they add up, where Lightning takes their mean.
        """
        added = losses.regularisation
        both = None
        if losses.eff is not None and losses.rob is not None:
            both = plus(losses.eff, added), plus(losses.rob, added)
        if self.control is None or both is None or not self.control.backward(*both, parameters):
            (losses.total * processes()).backward()  # type: ignore[no-untyped-call]

    def course(self, step: int, steps: int) -> tuple[int, int]:
        """Where a step stands in the schedule of the learning rate, and how long that is."""
        return (step, steps) if self.control is None else self.control.rule.course(step, steps)

    def logged(self) -> dict[str, float]:
        """What the objective adds to a line of ``metrics.jsonl``."""
        return {} if self.control is None else self.control.logged()

    def result(self) -> dict[str, Any]:
        """What the objective adds to ``result.json``."""
        found = {} if self.strategy.rob is None else {"omega/mixing": self.config.mixing}
        if self.perturbation is not None:
            strength = self.perturbation.strength
            value = getattr(self.config.perturbation, strength)
            found |= {"perturbation/kind": self.perturbation.name, f"perturbation/{strength}": value}
        return found if self.control is None else found | self.control.result()


def build_objective(config: StrategyConfig, setting: Setting) -> Objective:
    """The objective of the strategy that ``config.name`` names.

    Raises:
        ConfigError: the frontier file cannot be used, or the perturbation fits no word of the tokenizer.
    """
    strategy = strategy_of(config)
    module, _, name = strategy.objective.partition(":")
    objective: Objective = getattr(import_module(module), name)(strategy, setting)
    return objective


def plus(loss: Tensor, added: Tensor | None) -> Tensor:
    """The sum; of one term, that term itself."""
    return loss if added is None else loss + added


def step_work(scorer: Scorer, batch: Batch) -> Work:
    """A forward pass of a step: of its sequences, and of the scores of its blocks."""
    work = scorer.encoding_work(batch.sizes)
    for block in batch.blocks.values():
        sizes = batch.sizes[block.queries], batch.sizes[block.passages]
        work += scorer.scoring_work(*sizes, scorer.columns(block))
    return work


def block_loss(scorer: Scorer, rows: Tensor, batch: Batch, name: str) -> Tensor:
    """Contrastive loss of one block of a batch whose sequences were encoded to ``rows[n, …]``."""
    block = batch.blocks[name]
    own = own_queries(scorer, block, batch.shard)
    return ranking_loss(scorer, rows[block.queries], rows[block.passages], block, own)


def mixed(mixture: Mixture, blocks: Mapping[str, Tensor]) -> Tensor:
    """Weighted sum of the blocks' losses."""
    terms = [blocks[name] if weight == 1 else weight * blocks[name] for name, weight in mixture.items()]
    return torch.stack(terms).sum() if len(terms) > 1 else terms[0]
