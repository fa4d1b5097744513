"""What a strategy is: which pairs a batch holds, which losses are computed, how they are weighted.

A batch has one block of pairs for each ranking loss: in-domain pairs as they are, in-domain pairs with
perturbed passages, pairs of the robust-training domains. A strategy is described by two mixtures of these
losses, L_eff and L_rob, and by their weight ω. Everything else follows here, once for all strategies: what
is drawn, the one pass over all sequences of a step, the losses and what they cost.

How ω acts is ``strategy.mixing``. With ``steps`` a batch holds one block, and ω is the share of the steps
that minimise L_rob: :class:`retrieval.training.sampling.Sampler` chooses. With ``loss`` a batch holds all
blocks, and ω weighs the losses of every step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from retrieval.config import StrategyConfig
from retrieval.data.batches import Batch, Stream, TrainingPairs
from retrieval.errors import ConfigError
from retrieval.models.flops import BACKWARD, FORWARD, Work
from retrieval.models.scorer import Scorer
from retrieval.training.gathering import gathered, processes
from retrieval.training.losses import contrastive_loss
from retrieval.training.parts import AttackedBatch
from retrieval.training.perturbation import Perturbation, Perturbed
from retrieval.training.words import Words

IN_DOMAIN, PERTURBED, OTHER_DOMAINS, POOLED = "in-domain", "perturbed", "other-domains", "pooled"
"""Blocks of a batch, in the order in which they are laid out."""

KEYS = {IN_DOMAIN: 0, POOLED: 1, PERTURBED: 2, OTHER_DOMAINS: 3}
"""Random streams of the blocks that make up a whole batch; that of in-domain pairs is ``standard``'s."""

EFF, ROB = "eff", "rob"
"""The two terms of the loss."""

STEPS, LOSS = "steps", "loss"
"""Values of ``strategy.mixing``."""

Mixture = Mapping[str, float]
"""Block -> weight of its ranking loss; the weights sum to one."""


@dataclass(frozen=True)
class TrainingData:
    """What a strategy may draw from."""

    in_domain: TrainingPairs
    robust: tuple[TrainingPairs, ...] = ()


@dataclass(frozen=True)
class Lane:
    """What a step of ``mixing=steps`` may train: one ranking loss on a whole batch.

    A loss that takes several collections in turn has one lane for each.
    """

    name: str
    """Tells lanes apart, in the checkpoint too."""
    term: str
    stream: Stream
    weight: float
    """Share of the steps of its term."""


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

    def detached(self) -> Losses:
        """The values without the graph."""
        eff, rob = (None if term is None else term.detach() for term in (self.eff, self.rob))
        blocks = {name: loss.detach() for name, loss in self.blocks.items()}
        return Losses(self.total.detach(), eff, rob, blocks, self.work)


@dataclass(frozen=True)
class Setting:
    """What a strategy needs to know of its run beside its own configuration."""

    seed: int
    tokenizer: Any
    where: Mapping[str, Any] = field(default_factory=dict)
    """``model`` and ``frac`` as they stand in the result; ``params`` and ``pairs``, N and D; ``steps`` and
    ``batch_size`` of the training."""


class Strategy(ABC):
    """Optimisation strategy of a run; one instance per run."""

    name: ClassVar[str]
    backward_passes = BACKWARD
    """Cost of a step's backward passes, in forward passes."""

    def __init__(self, config: StrategyConfig, setting: Setting) -> None:
        self.config = config
        self.perturbation: Perturbation | None = None
        if PERTURBED in self.shares:
            words = Words.of(setting.tokenizer)
            self.perturbation = Perturbation(config.perturbation, words, setting.seed)

    @property
    @abstractmethod
    def eff(self) -> Mixture:
        """L_eff."""

    @property
    def rob(self) -> Mixture | None:
        """L_rob; ``None``: the strategy has none."""
        return None

    @property
    def omega(self) -> Tensor:
        """Weight of L_rob, 0-d."""
        return torch.tensor(0.5)

    @property
    def hard(self) -> int:
        """Mined negatives that each in-domain query brings beside its positive."""
        return 0

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
        names = [name for name in (IN_DOMAIN, PERTURBED, OTHER_DOMAINS) if name in {*self.eff, *self.rob}]
        return {name: (self.eff.get(name, 0.0) + self.rob.get(name, 0.0)) / 2 for name in names}

    def streams(self, data: TrainingData, batch_size: int) -> tuple[Stream, ...]:
        """The pairs of a step for ``batch_size`` pairs of the baseline.

        ``budget=equal`` splits these between the blocks; ``extra`` gives every block as many, and the
        perturbed passages are then those of the in-domain block.

        Raises:
            ConfigError: pairs of robust-training domains are needed and there is no such domain.
        """
        extra = self.config.budget == "extra"
        counts = dict.fromkeys(self.shares, batch_size) if extra else split(self.shares, batch_size)
        keys = {IN_DOMAIN: 0, OTHER_DOMAINS: 1, PERTURBED: 0 if extra else 2}
        return tuple(self._stream(name, data, count, keys[name]) for name, count in counts.items())

    def lanes(self, data: TrainingData, batch_size: int) -> tuple[Lane, ...]:
        """What a step may train with ``mixing=steps``: every loss on ``batch_size`` pairs of its own.

        Pairs of robust-training domains come from one domain a step, the domains in turn, or from all of
        them where ``strategy.domains`` is ``pooled``.

        Raises:
            ConfigError: pairs of robust-training domains are needed and there is no such domain.
        """
        lanes = []
        for term, mixture in self.terms.items():
            for block, weight in mixture.items():
                stream = self._stream(block, data, batch_size, KEYS[block])
                parts = [stream]
                if block == OTHER_DOMAINS and self.config.domains == "turn":
                    sources = enumerate(stream.sources)
                    parts = [replace(stream, sources=(source,), key=stream.key + i) for i, source in sources]
                for part in parts:
                    of = f"/{part.sources[0].name}" if len(parts) > 1 else ""
                    lanes.append(Lane(f"{term}/{block}{of}", term, part, weight / len(parts)))
        return tuple(lanes)

    def _stream(self, name: str, data: TrainingData, count: int, key: int) -> Stream:
        if name not in (OTHER_DOMAINS, POOLED):
            return Stream(name, (data.in_domain,), count, key, self.hard)
        if not data.robust:
            raise ConfigError(
                f"strategy={self.name} needs robust-training domains and data.robust is empty; name some, or "
                "use strategy.robust=adversarial or strategy=standard"
            )
        if name == POOLED:
            return Stream(name, (data.in_domain, *data.robust), count, key, proportional=True)
        return Stream(name, data.robust, count, key)

    def prepare(self, batch: Batch) -> Batch:
        """What :meth:`losses` needs of a batch beside its tensors; called while it is on the CPU."""
        return AttackedBatch.of(batch, PERTURBED) if PERTURBED in batch.blocks else batch

    def losses(self, encoder: Scorer, batch: Batch, backward_passes: int | None = None) -> Losses:
        """The terms of a step, from one pass over all its sequences, perturbed where they are to be.

        ``backward_passes``: cost of what follows; ``None``: a training step's.
        """
        seen = self._perturb(encoder, batch)
        vectors = gathered(encoder(seen.tokens, seen.offset), batch.shard)
        blocks = {name: block_loss(encoder, vectors, batch, name) for name in batch.blocks}
        back = self.backward_passes if backward_passes is None else backward_passes
        again = back // BACKWARD * FORWARD if encoder.recomputes else 0
        passes = FORWARD + back + again
        work = seen.work + Work.of_step(batch, passes)
        if batch.term:
            return _of_one_term(batch.term, blocks, self.terms[batch.term], work)
        eff = mixed(self.eff, blocks)
        if self.rob is None:
            return Losses(eff, eff, None, {}, work)
        rob, omega = mixed(self.rob, blocks), self.omega
        single = len(self.eff) == len(self.rob) == 1
        return Losses((1 - omega) * eff + omega * rob, eff, rob, {} if single else blocks, work)

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
        (losses.total * processes()).backward()  # type: ignore[no-untyped-call]

    def course(self, step: int, steps: int) -> tuple[int, int]:
        """Where a step stands in the schedule of the learning rate, and how long that is."""
        return step, steps

    def logged(self) -> dict[str, float]:
        """What the strategy adds to a line of ``metrics.jsonl``."""
        return {}

    def result(self) -> dict[str, Any]:
        """What the strategy adds to ``result.json``."""
        mixing = {} if self.rob is None else {"omega/mixing": self.config.mixing}
        if self.perturbation is None:
            return mixing
        kind = self.config.perturbation.kind
        strength = "epsilon" if kind in ("fgsm", "pgd") else "rate"
        return mixing | {
            "perturbation/kind": kind,
            f"perturbation/{strength}": getattr(self.config.perturbation, strength),
        }


def _of_one_term(term: str, blocks: Mapping[str, Tensor], mixture: Mixture, work: Work) -> Losses:
    """Of a step that minimises one loss of one term."""
    ((name, loss),) = blocks.items()
    single = {name: loss} if len(mixture) > 1 else {}
    return Losses(loss, loss, None, single, work) if term == EFF else Losses(loss, None, loss, single, work)


def block_loss(scorer: Scorer, rows: Tensor, batch: Batch, name: str) -> Tensor:
    """Contrastive loss of one block of a batch whose sequences were encoded to ``rows`` ``[n, …]``."""
    block = batch.blocks[name]
    scores = scorer.scores(rows[block.queries], rows[block.passages])
    return contrastive_loss(scores, block.labels, block.excluded)


def mixed(mixture: Mixture, blocks: Mapping[str, Tensor]) -> Tensor:
    """Weighted sum of the blocks' losses."""
    terms = [blocks[name] if weight == 1 else weight * blocks[name] for name, weight in mixture.items()]
    return torch.stack(terms).sum() if len(terms) > 1 else terms[0]


def split(shares: Mixture, total: int) -> dict[str, int]:
    """``total`` pairs divided by ``shares``, remainders to the largest fractions, the first of ties."""
    counts = {name: int(share * total) for name, share in shares.items()}
    by_fraction = sorted(shares, key=lambda name: counts[name] - shares[name] * total)
    for name in by_fraction[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
