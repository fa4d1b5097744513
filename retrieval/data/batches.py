"""Training batches as a pure function of (seed, step, positions): drawing, collation, in-batch negatives.

Who asks for a batch says how many batches each stream has given before it. No other state is carried from
step to step, so a resumed run continues with the very batch that the interrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from retrieval.data.arrays import contained
from retrieval.data.collection import Judgements
from retrieval.data.layout import Counted, OnDevice, TokenBatch, group_tokens
from retrieval.data.negatives import HardNegatives
from retrieval.data.tokens import TokenStore

DROPOUT, NOISE = 0, 1
STREAMS = 2
"""Number of streams of a process; those of the next rank follow."""


def step_seed(seed: int, step: int, stream: int) -> int:
    """Seed for a torch generator, below 2³².

    PyTorch's CPU generator reads 32 bits of its seed only, so the three numbers are hashed into them.
    """
    return int(np.random.SeedSequence((seed, step, stream)).generate_state(1)[0])


@dataclass(frozen=True, eq=False)
class TrainingPairs:
    """The pairs that a run may train on from one collection.

    ``pairs``: the subset of ``data.frac``; ``known``: all judged-relevant pairs of the collection's
    training split, so that a relevant passage is never taken for a negative; ``negatives``: mined ones,
    where the strategy asks for them.
    """

    name: str
    queries: TokenStore
    passages: TokenStore
    pairs: Judgements
    known: Judgements
    negatives: HardNegatives | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def _known_keys(self) -> np.ndarray:
        return np.sort(self._keys(self.known.query_rows, self.known.passage_rows))

    def _keys(self, query_rows: np.ndarray, passage_rows: np.ndarray) -> np.ndarray:
        keys: np.ndarray = np.asarray(query_rows) * np.int64(len(self.passages)) + np.asarray(passage_rows)
        return keys

    def relevant(self, query_rows: np.ndarray, passage_rows: np.ndarray) -> np.ndarray:
        """Whether each passage is relevant to each query: bool[n, m]."""
        keys = self._keys(query_rows[:, None], passage_rows[None, :])
        return contained(keys, self._known_keys)


@dataclass(frozen=True)
class RankingBlock(OnDevice):
    """Where the sequences of one loss lie in the batch and which passage is whose positive.

    ``labels``: int64[n]; ``excluded``: bool[n, m]; see :func:`contrastive_loss`. The first n of
    the m passages are the positives, in the order of the queries; with h hard negatives a query, those of
    query i are the passages n + i·h … n + (i + 1)·h − 1.
    """

    queries: slice
    passages: slice
    labels: Tensor
    excluded: Tensor


@dataclass(frozen=True)
class Shard(OnDevice, Counted):
    """One process's share of a step's sequences, the whole pairs of every block dealt out in order.

    ``order``: int64[N]: where the vector of each of the N sequences of the whole step, in the caller's
    order, lies in the processes' vectors one after another, each filled up to ``width`` rows; ``sizes``:
    tokens of each of the N, int64[N].
    """

    rank: int
    width: int
    order: Tensor
    sizes: np.ndarray

    @classmethod
    def of(cls, owners: np.ndarray, sizes: np.ndarray, rank: int) -> Shard:
        """The share of ``rank`` in sequences of ``sizes`` tokens dealt to ``owners``: both int64[N]."""
        counts = np.bincount(owners)
        width = int(counts.max())
        order = np.empty(len(owners), np.int64)
        for owner, count in enumerate(counts):
            order[owners == owner] = owner * width + np.arange(count)
        return cls(rank, width, torch.from_numpy(order), sizes)

    def part(self, chosen: slice) -> tuple[Tensor, Shard]:
        """Some sequences of the whole step: which of this process's they are, and how they are dealt out.

        Returns: places int64[n] in the caller's order of this process's sequences (on the CPU).
        """
        order = self.order[chosen].numpy()
        owners, places = np.divmod(order, self.width)
        shard = Shard.of(owners, self.sizes[chosen], self.rank)
        return torch.from_numpy(places[owners == self.rank]), shard


@dataclass(frozen=True)
class Batch(OnDevice):
    """All sequences of a step, queries and passages of every loss together.

    With a ``shard``, ``tokens`` are this process's sequences alone; ``blocks`` and ``pairs`` are those of
    the whole step in every process.
    """

    step: int
    tokens: TokenBatch
    sizes: np.ndarray
    """Tokens of each sequence of the whole step in the caller's order, int64[N], on the host."""
    blocks: dict[str, RankingBlock]
    pairs: int
    shard: Shard | None = None
    term: str = ""
    """The term of the loss that the step minimises alone, ``eff`` or ``rob``; empty: all of them."""


@dataclass(frozen=True, eq=False)
class Draw:
    """Pairs of one source for one step: rows int64[n], hard negatives int64[n, h]."""

    source: TrainingPairs
    query_rows: np.ndarray
    passage_rows: np.ndarray
    hard_rows: np.ndarray

    def excluded(self) -> tuple[np.ndarray, np.ndarray]:
        """Relevant passages other than the own positive: bool[n, n] and ``[n, n·h]``."""
        positives = self.source.relevant(self.query_rows, self.passage_rows)
        np.fill_diagonal(positives, False)
        if self.source.negatives is None or self.hard_rows.size == 0:
            return positives, np.zeros((len(self.query_rows), self.hard_rows.size), dtype=bool)
        return positives, self.source.negatives.relevant(self.query_rows, self.hard_rows.ravel())


@dataclass(frozen=True)
class Stream:
    """One loss's supply of pairs: ``count`` a batch, drawn from ``sources``."""

    name: str
    sources: tuple[TrainingPairs, ...]
    count: int
    key: int = 0
    """Distinguishes the random streams of two losses."""
    hard: int = 0
    """Hard negatives of each query, drawn from its source's :attr:`TrainingPairs.negatives`."""
    proportional: bool = False
    """Whether sources give in proportion to their size, as one shuffled collection; else they give evenly."""

    @property
    def sequences(self) -> int:
        """Queries and passages of a batch."""
        return self.count * (2 + self.hard)

    def draw(self, seed: int, step: int, position: int) -> list[Draw]:
        """What each source gives for the batch at ``position``, made for the optimisation step ``step``."""
        drawn = []
        for place, indexes in self._indexes(seed, position * self.count, (position + 1) * self.count):
            source, key = self.sources[place], (seed, self.key, place)
            chosen = source.pairs.take(indexes)
            hard = np.empty((len(chosen), 0), np.int64)
            if self.hard:
                if source.negatives is None:
                    raise ValueError(f"{source.name}: hard negatives are asked for and none were mined")
                hard = source.negatives.draw(chosen.query_rows, self.hard, step, key)
            drawn.append(Draw(source, chosen.query_rows, chosen.passage_rows, hard))
        return drawn

    def distinct(self, seed: int, batches: int) -> list[tuple[TrainingPairs, np.ndarray]]:
        """The different pairs of the first ``batches`` batches: indexes int64[k] of each source."""
        drawn = self._indexes(seed, 0, batches * self.count, stop_at_one_pass=True)
        return [(self.sources[place], np.unique(indexes)) for place, indexes in drawn]

    def _indexes(
        self, seed: int, start: int, stop: int, stop_at_one_pass: bool = False
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Source and indexes int64[n] of the pairs from ``start`` to ``stop`` of the stream."""
        if self.proportional:
            sizes = [len(source) for source in self.sources]
            ends = np.cumsum(sizes)
            count = min(stop - start, sum(sizes)) if stop_at_one_pass else stop - start
            together = epoch_indexes(sum(sizes), start, count, (seed, self.key))
            for place, (size, end) in enumerate(zip(sizes, ends.tolist(), strict=True)):
                own = together[(together >= end - size) & (together < end)]
                if len(own):
                    yield place, own - (end - size)
            return
        for place, source in enumerate(self.sources):
            first, last = self._dealt(place, start), self._dealt(place, stop)
            count = min(last - first, len(source)) if stop_at_one_pass else last - first
            if count:
                yield place, epoch_indexes(len(source), first, count, (seed, self.key, place))

    def _dealt(self, place: int, pairs: int) -> int:
        """Pairs that a source has given when ``pairs`` are dealt to the sources in turn."""
        return (pairs + len(self.sources) - 1 - place) // len(self.sources)


def epoch_indexes(size: int, start: int, count: int, key: tuple[int, ...]) -> np.ndarray:
    """``count`` draws from position ``start`` of endless reshuffled passes over ``size`` items."""
    taken = []
    while count > 0:
        epoch, within = divmod(start, size)
        order = _permutation(size, (*key, epoch))
        part = order[within : within + count]
        taken.append(part)
        start, count = start + len(part), count - len(part)
    return np.concatenate(taken) if taken else np.empty(0, np.int64)


@lru_cache(maxsize=16)
def _permutation(size: int, key: tuple[int, ...]) -> np.ndarray:
    """The order of one pass; the last few are kept, since every step of a pass asks for the same."""
    return np.random.default_rng((size, *key)).permutation(size)


def collate(
    streams: tuple[Stream, ...],
    seed: int,
    step: int,
    rank: int = 0,
    world: int = 1,
    positions: Mapping[str, int] | None = None,
    term: str = "",
) -> Batch:
    """The batch of a step: every stream's queries, then its passages, in one packed layout.

    Of ``world`` processes each is given by ``rank`` its share of the sequences; the step is the same.
    ``positions``: batches that each stream has given before, by its name; ``None``: one in every step.
    """
    parts: list[tuple[TokenStore, np.ndarray]] = []
    blocks: dict[str, RankingBlock] = {}
    place = 0
    for stream in streams:
        drawn = stream.draw(seed, step, step if positions is None else positions[stream.name])
        parts += [
            *((draw.source.queries, draw.query_rows) for draw in drawn),
            *((draw.source.passages, draw.passage_rows) for draw in drawn),
            *((draw.source.passages, draw.hard_rows.ravel()) for draw in drawn),
        ]
        middle, stop = place + stream.count, place + stream.sequences
        blocks[stream.name] = RankingBlock(
            slice(place, middle),
            slice(middle, stop),
            torch.arange(stream.count),
            torch.from_numpy(_excluded(drawn, stream)),
        )
        place = stop
    pairs = sum(stream.count for stream in streams)
    sizes = np.concatenate([store.lengths(rows) for store, rows in parts])
    if world == 1:
        return Batch(step, _gather(parts), sizes, blocks, pairs, term=term)
    owners = np.concatenate([_owners(stream, world) for stream in streams])
    shard = Shard.of(owners, sizes, rank)
    ends = np.cumsum([len(rows) for _, rows in parts])
    mine = np.split(owners == rank, ends[:-1])
    own = [(store, rows[kept]) for (store, rows), kept in zip(parts, mine, strict=True)]
    return Batch(step, _gather(own), sizes, blocks, pairs, shard, term)


def _gather(parts: list[tuple[TokenStore, np.ndarray]]) -> TokenBatch:
    ids, lengths = zip(*(store.gather(rows) for store, rows in parts), strict=True)
    return group_tokens(np.concatenate(ids), np.concatenate(lengths))


def _owners(stream: Stream, world: int) -> np.ndarray:
    """Rank that encodes each sequence of a stream: a pair and its hard negatives stay together."""
    of_pairs = np.arange(stream.count) * world // stream.count
    return np.concatenate([of_pairs, of_pairs, np.repeat(of_pairs, stream.hard)])


def _excluded(drawn: list[Draw], stream: Stream) -> np.ndarray:
    """Bool ``[n, n + n·h]``: passages of other sources are never relevant."""
    count = stream.count
    excluded = np.zeros((count, count * (1 + stream.hard)), dtype=bool)
    first = 0
    for draw in drawn:
        stop = first + len(draw.query_rows)
        positives, hard = draw.excluded()
        excluded[first:stop, first:stop] = positives
        excluded[first:stop, count + first * stream.hard : count + stop * stream.hard] = hard
        first = stop
    return excluded


class Steps(IterableDataset[int]):
    """The numbers of the optimisation steps ``start`` … ``stop − 1``.

    A trainer fetches ahead. What a step trains may follow from the step before it, so its batch is made when
    it begins (:class:`retrieval.training.sampling.Sampler`) and only its number is fetched.

    Without a length: a trainer that resumes would otherwise take the remaining steps for a whole epoch.
    """

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop

    def __iter__(self) -> Iterator[int]:
        yield from range(self.start, self.stop)
