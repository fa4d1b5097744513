"""The ranking loss of a block as a function of its passages, and its ascent.

Word embeddings are where an embedding perturbation acts
(Miyato et al. 2017, arXiv 1605.07725; for dense retrieval Lupart and Clinchant 2023, arXiv 2301.10576). The
attacked sequences of a batch are a batch of their own, for the passes that only they need; a vocabulary tells
which of their tokens are words that other words can replace.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retrieval.data.batches import Batch, Shard
from retrieval.data.layout import OnDevice, TokenBatch
from retrieval.models.flops import BACKWARD_TO_INPUTS, FORWARD, Work
from retrieval.models.scorer import Scorer
from retrieval.training.losses import gathered, ranking_loss, summed

STEP_SHARE = 2.5
"""Step of PGD in bounds per number of steps (Madry et al. 2018, arXiv 1706.06083, §5)."""

WORD_START = ("▁", "Ġ")
"""Marks of SentencePiece and of byte-level BPE; WordPiece marks what continues a word instead."""

CONTINUATION = "##"


@dataclass(frozen=True)
class Vocabulary(OnDevice):
    """Properties of every token id, bool[V].

    ``whole``: begins a word and holds a letter; ``continues``: goes on with the word before it;
    ``special``: [CLS], [SEP], padding and the like. ``choices``: int64, the ids that are ``whole``.
    """

    whole: Tensor
    continues: Tensor
    special: Tensor
    choices: Tensor

    @classmethod
    def of(cls, tokenizer: Any) -> Vocabulary:
        """The properties of a fast tokenizer's vocabulary."""
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        size = max(vocabulary.values()) + 1
        whole, continues, special = (torch.zeros(size, dtype=torch.bool) for _ in range(3))
        # Either mark can also occur as a character of the text, so the more frequent one decides.
        starts, continuations = (
            sum(token.startswith(mark) for token in vocabulary) for mark in (WORD_START, CONTINUATION)
        )
        marked = starts > continuations
        for token, index in vocabulary.items():
            continues[index] = not token.startswith(WORD_START) if marked else token.startswith(CONTINUATION)
            whole[index] = not continues[index] and any(map(str.isalpha, token.lstrip("".join(WORD_START))))
        special[tokenizer.all_special_ids] = True
        whole &= ~special
        return cls(whole, continues & ~special, special, whole.nonzero()[:, 0])

    def replaceable(self, ids: Tensor) -> Tensor:
        """Which of the tokens ``ids[T]`` are words by themselves: bool[T].

        A word of several tokens is left alone: half of it replaced would be no word. The layout begins
        every sequence with a token that continues nothing, so the last token of one is not mistaken.
        """
        continued = torch.cat([self.continues[ids[1:]], self.continues.new_zeros(1)])
        return self.whole[ids] & ~continued


@dataclass(frozen=True)
class Part(OnDevice):
    """Sequences taken from a batch.

    ``tokens``: they alone, in the caller's order; ``places``: int64[Σ lengths], where each of their
    tokens, the blank ones excepted, lies in the whole batch.
    """

    tokens: TokenBatch
    places: Tensor
    shard: Shard | None = None
    """How the sequences are dealt out, where several processes have some of them each."""

    @classmethod
    def of(cls, batch: Batch, sequences: slice) -> Part:
        """This process's share of some sequences of a step, which is on the CPU."""
        if batch.shard is None:
            return cls(*batch.tokens.select(sequences))
        own, shard = batch.shard.part(sequences)
        return cls(*batch.tokens.select(own), shard)

    def put(self, into: Tensor, values: Tensor) -> Tensor:
        """``into[T, …]``, by token of the whole batch, with ``values`` at the tokens of the part."""
        return into.index_copy(0, self.places, values[: len(self.places)])


@dataclass(frozen=True, kw_only=True)
class AttackedBatch(Batch):
    """A batch of whose block ``attacked`` the queries and the passages are at hand as parts."""

    attacked: str
    queries: Part
    passages: Part

    @classmethod
    def of(cls, batch: Batch, block: str) -> AttackedBatch:
        """``batch`` (on the CPU) with the parts of a block."""
        place = batch.blocks[block]
        whole = {field.name: getattr(batch, field.name) for field in fields(Batch)}
        queries, passages = (Part.of(batch, part) for part in (place.queries, place.passages))
        return cls(**whole, attacked=block, queries=queries, passages=passages)


@dataclass(frozen=True)
class Perturbed:
    """What the scorer is given in place of a batch, and what finding it cost."""

    tokens: TokenBatch
    offset: Tensor | None
    """float32[T, hidden], added to the word embeddings; ``None``: nothing is."""
    work: Work
    sizes: np.ndarray | None = None
    """Tokens of each sequence in the caller's order, int64[N], where they are not those of the batch."""

    def sized(self, batch: Batch) -> Batch:
        """``batch``, with the sizes of what the scorer is given."""
        return batch if self.sizes is None else replace(batch, sizes=self.sizes)


class Adversary:
    """The ranking loss of the attacked block as a function of its passages; its queries are fixed."""

    def __init__(self, scorer: Scorer, batch: AttackedBatch, vocabulary: Vocabulary) -> None:
        self.scorer = scorer
        self.block = batch.blocks[batch.attacked]
        self.tokens, self.shard = batch.passages.tokens, batch.passages.shard
        with torch.no_grad():
            self.queries = gathered(scorer(batch.queries.tokens), batch.queries.shard)
        self.sizes = batch.sizes[self.block.queries], batch.sizes[self.block.passages]
        self.work = scorer.encoding_work(self.sizes[0]) * FORWARD
        self.free = self.tokens.real & ~vocabulary.special[self.tokens.ids]
        """Tokens that may be changed: bool[T]."""

    def loss(self, offset: Tensor) -> Tensor:
        """Loss at the passages' word embeddings plus ``offset[T, hidden]``: 0-d."""
        # Every process scores all queries: its own passages are negatives of the others'.
        passages = gathered(self.scorer(self.tokens, offset), self.shard)
        return ranking_loss(self.scorer, self.queries, passages, self.block)

    def gradient(self, offset: Tensor) -> Tensor:
        """Gradient of :meth:`loss`, float32[T, hidden], zero at tokens that may not be changed."""
        # With the weights fixed, no work goes into their gradients.
        with self.scorer.unchanged(), torch.enable_grad():
            point = offset.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.loss(point), point)
        scoring = self.scorer.scoring_work(*self.sizes, self.scorer.columns(self.block))
        forward = self.scorer.encoding_work(self.sizes[1]) + scoring
        self.work += forward * (FORWARD + BACKWARD_TO_INPUTS)
        return gradient * self.free[:, None]


def with_offset(batch: AttackedBatch, offset: Tensor, work: Work) -> Perturbed:
    """A batch with ``offset[T, hidden]`` added to the word embeddings of its attacked passages."""
    whole = offset.new_zeros(len(batch.tokens.ids), offset.shape[1])
    return Perturbed(batch.tokens, batch.passages.put(whole, offset), work)


def with_words(batch: AttackedBatch, ids: Tensor, work: Work) -> Perturbed:
    """A batch with other ids int64[T] in its attacked passages."""
    return Perturbed(replace(batch.tokens, ids=batch.passages.put(batch.tokens.ids, ids)), None, work)


def ascend(adversary: Adversary, table: Tensor, epsilon: float, steps: int) -> Tensor:
    """Projected gradient ascent on a passage's word embeddings: offset float32[T, hidden].

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
    """L2 norm of each passage's part of ``values[T, hidden]``, at each of its tokens: ``[T, 1]``.

    ``values`` are zero at blank tokens, and so are the norms there.
    """

    def norms(squares: Tensor) -> Tensor:
        return squares.sum(1, keepdim=True).sqrt().expand_as(squares)

    return tokens.per_sequence(norms, values.square().sum(1))[:, None]


def most_important(importance: Tensor, replaceable: Tensor, tokens: TokenBatch, rate: float) -> Tensor:
    """The most important ``rate`` of each passage's replaceable words, at least one: bool[T]."""

    def chosen(values: Tensor, possible: Tensor) -> Tensor:
        places = values.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        wanted = (rate * possible.sum(1, keepdim=True)).round().clamp_min(1)
        return (places < wanted) & possible

    return tokens.per_sequence(chosen, importance.masked_fill(~replaceable, float("-inf")), replaceable)
