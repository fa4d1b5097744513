"""Adversarial inputs of a training step: the passages of a block moved so that its ranking loss rises.

Perturbed are the passages alone, positive and negative; queries, special tokens and padding stay as they
are. Everything follows from (seed, step). Word embeddings are where an embedding perturbation acts
(Miyato et al. 2017, arXiv 1605.07725; for dense retrieval Lupart and Clinchant 2023, arXiv 2301.10576).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from retrieval.config import PerturbationConfig
from retrieval.data.layout import TokenBatch
from retrieval.errors import ConfigError
from retrieval.models.flops import BACKWARD_TO_INPUTS, FORWARD, Work
from retrieval.models.scorer import Scorer
from retrieval.training.gathering import gathered, summed
from retrieval.training.losses import contrastive_loss
from retrieval.training.parts import AttackedBatch
from retrieval.training.seeds import NOISE, step_seed
from retrieval.training.vocabulary import Vocabulary

STEP_SHARE = 2.5
"""Step of PGD in bounds per number of steps (Madry et al. 2018, arXiv 1706.06083, §5)."""

NEIGHBOUR_ROWS = 1024
"""Words whose neighbours are looked up at a time: bounds the memory of similarities to the vocabulary."""


@dataclass(frozen=True)
class Perturbed:
    """What the scorer is given in place of a batch, and what finding it cost."""

    tokens: TokenBatch
    offset: Tensor | None
    """fp32 ``[T, hidden]``, added to the word embeddings; ``None``: nothing is."""
    work: Work


class Adversary:
    """The ranking loss of the attacked block as a function of its passages; its queries are fixed."""

    def __init__(self, scorer: Scorer, batch: AttackedBatch, vocabulary: Vocabulary) -> None:
        self.scorer = scorer
        self.block = batch.blocks[batch.attacked]
        self.tokens, self.shard = batch.passages.tokens, batch.passages.shard
        with torch.no_grad():
            self.queries = gathered(scorer(batch.queries.tokens), batch.queries.shard)
        self.work = Work.of_share(batch.queries.tokens, batch.queries.shard, FORWARD)
        self.free = self.tokens.real & ~vocabulary.special[self.tokens.ids]
        """Tokens that may be changed: bool ``[T]``."""

    def loss(self, offset: Tensor) -> Tensor:
        """Loss at the passages' word embeddings plus ``offset`` ``[T, hidden]``: 0-d."""
        passages = gathered(self.scorer(self.tokens, offset), self.shard)
        scores = self.scorer.scores(self.queries, passages)
        return contrastive_loss(scores, self.block.labels, self.block.excluded)

    def gradient(self, offset: Tensor) -> Tensor:
        """Gradient of :meth:`loss`, fp32 ``[T, hidden]``, zero at tokens that may not be changed."""
        # With the weights fixed, no work goes into their gradients.
        with self.scorer.unchanged(), torch.enable_grad():
            point = offset.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.loss(point), point)
        self.work += Work.of_share(self.tokens, self.shard, FORWARD + BACKWARD_TO_INPUTS)
        return gradient * self.free[:, None]


class Perturbation:
    """Perturbs the attacked block of a batch in the configured way.

    Raises:
        ConfigError: words are to be replaced and the vocabulary has none.
    """

    def __init__(self, config: PerturbationConfig, vocabulary: Vocabulary, seed: int) -> None:
        if config.kind in ("substitution", "noise") and len(vocabulary.choices) < 2:
            raise ConfigError(
                f"strategy.perturbation.kind={config.kind} replaces words and the tokenizer's vocabulary has "
                "none; use fgsm or pgd"
            )
        self.config = config
        self.vocabulary = vocabulary
        self.seed = seed

    def __call__(self, scorer: Scorer, batch: AttackedBatch) -> Perturbed:
        """The batch as the scorer is to see it."""
        config, passages = self.config, batch.passages
        self.vocabulary = self.vocabulary.to(batch.tokens.ids.device)
        if config.kind == "noise":
            ids, work = self._noise(batch), Work()
        else:
            adversary = Adversary(scorer, batch, self.vocabulary)
            table = scorer.word_table.detach()
            if config.kind in ("fgsm", "pgd"):
                steps = config.steps if config.kind == "pgd" else 1
                offset = ascend(adversary, table, config.epsilon, steps)
                whole = table.new_zeros(len(batch.tokens.ids), table.shape[1])
                return Perturbed(batch.tokens, passages.put(whole, offset), adversary.work)
            ids, searched = substitute(adversary, table, self.vocabulary, config.rate, config.neighbours)
            work = adversary.work + searched
        changed = replace(batch.tokens, ids=passages.put(batch.tokens.ids, ids))
        return Perturbed(changed, None, work)

    def _noise(self, batch: AttackedBatch) -> Tensor:
        """Random words in the place of random words: ids of the passages, int64 ``[T]``."""
        tokens = batch.passages.tokens
        device, size = tokens.ids.device, tokens.ids.shape
        generator = torch.Generator(device).manual_seed(step_seed(self.seed, batch.step, NOISE))
        candidates = self.vocabulary.choices
        replaceable = tokens.real & self.vocabulary.replaceable(tokens.ids)
        importance = torch.rand(size, generator=generator, device=device)
        drawn = candidates[torch.randint(len(candidates), size, generator=generator, device=device)]
        chosen = _most_important(importance, replaceable, tokens, self.config.rate)
        return torch.where(chosen, drawn, tokens.ids)


def ascend(adversary: Adversary, table: Tensor, epsilon: float, steps: int) -> Tensor:
    """Projected gradient ascent on a passage's word embeddings: offset fp32 ``[T, hidden]``.

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


def substitute(
    adversary: Adversary, table: Tensor, vocabulary: Vocabulary, rate: float, neighbours: int
) -> tuple[Tensor, Work]:
    """Passages with their most influential words replaced: ids int64 ``[T]``, and the work of the search.

    Influence is the norm of the gradient at a word. It gives way to that of its ``neighbours`` nearest words
    (cosine of embeddings) which raises the loss most to first order, ``(e_new − e_old)·g`` (HotFlip, Ebrahimi
    et al. 2018, arXiv 1712.06751); it stays where none raises it.
    """
    ids = adversary.tokens.ids
    gradient = adversary.gradient(torch.zeros(len(ids), table.shape[1], device=table.device))
    replaceable = adversary.free & vocabulary.replaceable(ids)
    chosen = _most_important(gradient.norm(dim=1), replaceable, adversary.tokens, rate)
    places = chosen.nonzero()[:, 0]
    candidates = vocabulary.choices
    directions = F.normalize(table[candidates], dim=1)
    changed = ids.clone()
    for rows in torch.split(places, NEIGHBOUR_ROWS):
        old = table[ids[rows]]
        similarity = F.normalize(old, dim=1) @ directions.T
        similarity.masked_fill_(candidates == ids[rows, None], float("-inf"))
        near = candidates[similarity.topk(min(neighbours, len(candidates) - 1), dim=1).indices]
        gains = torch.einsum("nkh,nh->nk", table[near] - old[:, None], gradient[rows])
        gain, best = gains.max(dim=1)
        changed[rows] = torch.where(gain > 0, near.gather(1, best[:, None])[:, 0], ids[rows])
    searched = summed(torch.tensor(len(places), device=ids.device))
    return changed, Work(other=2.0 * directions.numel() * float(searched))


def passage_norms(values: Tensor, tokens: TokenBatch) -> Tensor:
    """L2 norm of each passage's part of ``values`` ``[T, hidden]``, at each of its tokens: ``[T, 1]``.

    ``values`` are zero at blank tokens, and so are the norms there.
    """

    def norms(squares: Tensor) -> Tensor:
        return squares.sum(1, keepdim=True).sqrt().expand_as(squares)

    return tokens.per_sequence(norms, values.square().sum(1))[:, None]


def _most_important(importance: Tensor, replaceable: Tensor, tokens: TokenBatch, rate: float) -> Tensor:
    """The most important ``rate`` of each passage's replaceable words, at least one: bool ``[T]``."""

    def chosen(values: Tensor, possible: Tensor) -> Tensor:
        places = values.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        wanted = (rate * possible.sum(1, keepdim=True)).round().clamp_min(1)
        return (places < wanted) & possible

    return tokens.per_sequence(chosen, importance.masked_fill(~replaceable, float("-inf")), replaceable)
