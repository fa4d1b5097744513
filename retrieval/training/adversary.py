"""The ranking loss of a block as a function of its passages, and its ascent.

Word embeddings are where an embedding perturbation acts
(Miyato et al. 2017, arXiv 1605.07725; for dense retrieval Lupart and Clinchant 2023, arXiv 2301.10576).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from retrieval.data.layout import TokenBatch
from retrieval.models.flops import BACKWARD_TO_INPUTS, FORWARD, Work
from retrieval.models.scorer import Scorer
from retrieval.training.gathering import gathered, summed
from retrieval.training.losses import contrastive_loss
from retrieval.training.parts import AttackedBatch
from retrieval.training.vocabulary import Vocabulary

STEP_SHARE = 2.5
"""Step of PGD in bounds per number of steps (Madry et al. 2018, arXiv 1706.06083, §5)."""


@dataclass(frozen=True)
class Perturbed:
    """What the scorer is given in place of a batch, and what finding it cost."""

    tokens: TokenBatch
    offset: Tensor | None
    """float32 ``[T, hidden]``, added to the word embeddings; ``None``: nothing is."""
    work: Work


class Adversary:
    """The ranking loss of the attacked block as a function of its passages; its queries are fixed."""

    def __init__(self, scorer: Scorer, batch: AttackedBatch, vocabulary: Vocabulary) -> None:
        self.scorer = scorer
        self.block = batch.blocks[batch.attacked]
        self.tokens, self.shard = batch.passages.tokens, batch.passages.shard
        with torch.no_grad():
            self.queries = gathered(scorer(batch.queries.tokens), batch.queries.shard)
        self.work = Work.of(batch.queries.shard or batch.queries.tokens, FORWARD)
        self.free = self.tokens.real & ~vocabulary.special[self.tokens.ids]
        """Tokens that may be changed: bool ``[T]``."""

    def loss(self, offset: Tensor) -> Tensor:
        """Loss at the passages' word embeddings plus ``offset`` ``[T, hidden]``: 0-d."""
        passages = gathered(self.scorer(self.tokens, offset), self.shard)
        scores = self.scorer.scores(self.queries, passages)
        return contrastive_loss(scores, self.block.labels, self.block.excluded)

    def gradient(self, offset: Tensor) -> Tensor:
        """Gradient of :meth:`loss`, float32 ``[T, hidden]``, zero at tokens that may not be changed."""
        # With the weights fixed, no work goes into their gradients.
        with self.scorer.unchanged(), torch.enable_grad():
            point = offset.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.loss(point), point)
        self.work += Work.of(self.shard or self.tokens, FORWARD + BACKWARD_TO_INPUTS)
        return gradient * self.free[:, None]


def with_offset(batch: AttackedBatch, offset: Tensor, work: Work) -> Perturbed:
    """A batch with ``offset`` ``[T, hidden]`` added to the word embeddings of its attacked passages."""
    whole = offset.new_zeros(len(batch.tokens.ids), offset.shape[1])
    return Perturbed(batch.tokens, batch.passages.put(whole, offset), work)


def with_words(batch: AttackedBatch, ids: Tensor, work: Work) -> Perturbed:
    """A batch with other ids int64 ``[T]`` in its attacked passages."""
    return Perturbed(replace(batch.tokens, ids=batch.passages.put(batch.tokens.ids, ids)), None, work)


def ascend(adversary: Adversary, table: Tensor, epsilon: float, steps: int) -> Tensor:
    """Projected gradient ascent on a passage's word embeddings: offset float32 ``[T, hidden]``.

    ``table``: word embeddings ``[V, hidden]``. The bound is on the L2 norm of a passage's whole offset:
    ``epsilon`` mean norms of the embeddings that may be changed, so that 1 is about the way from one word
    to another. One step is FGSM with the L2 norm, ``ε·g/‖g‖``; several take 2.5·ε/steps each and are
    projected back, from zero.
    """
    norms = table[adversary.tokens.ids].norm(dim=1)
    total, count = summed((norms * adversary.free).sum()), summed(adversary.free.sum())
    bound = epsilon * total / count.clamp_min(1)
    offset = torch.zeros(len(norms), table.shape[1], device=table.device)
    stride = bound * min(1.0, STEP_SHARE / steps)
    for _ in range(steps):
        gradient = adversary.gradient(offset)
        offset = offset + stride * gradient / passage_norms(gradient, adversary.tokens).clamp_min(1e-30)
        offset = offset * (bound / passage_norms(offset, adversary.tokens).clamp_min(1e-30)).clamp_max(1.0)
    return offset


def passage_norms(values: Tensor, tokens: TokenBatch) -> Tensor:
    """L2 norm of each passage's part of ``values`` ``[T, hidden]``, at each of its tokens: ``[T, 1]``.

    ``values`` are zero at blank tokens, and so are the norms there.
    """

    def norms(squares: Tensor) -> Tensor:
        return squares.sum(1, keepdim=True).sqrt().expand_as(squares)

    return tokens.per_sequence(norms, values.square().sum(1))[:, None]


def most_important(importance: Tensor, replaceable: Tensor, tokens: TokenBatch, rate: float) -> Tensor:
    """The most important ``rate`` of each passage's replaceable words, at least one: bool ``[T]``."""

    def chosen(values: Tensor, possible: Tensor) -> Tensor:
        places = values.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        wanted = (rate * possible.sum(1, keepdim=True)).round().clamp_min(1)
        return (places < wanted) & possible

    return tokens.per_sequence(chosen, importance.masked_fill(~replaceable, float("-inf")), replaceable)
