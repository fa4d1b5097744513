"""Packed layout of a batch of token sequences: no work on padding but within attention, and little there.

The tokens of all sequences, sorted by length, stand one after the other: everything position-wise
(embeddings, linear layers, layer norms, activations) runs once over them, queries and passages together.
Attention sees groups of sequences of similar length, each padded to its longest, in *slots*: rows of a second
layout that are gathered from the tokens and whose results are gathered back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from retrieval.data.arrays import within
from retrieval.data.routes import Route

GROUP_COST_SCORES = 200_000
"""Attention scores a head that one more group is worth: the fixed cost of its operations."""
TOKEN_MULTIPLE, COUNT_MULTIPLE, WIDTH_MULTIPLE = 192, 16, 32
"""What tokens of a batch, sequences of a group and its width are multiples of. For matrix products of a shape
not seen before oneDNN generates machine code, which was a third of bert-tiny's training time when every batch
brought new shapes. The first is also the width of the images of
:func:`retrieval.models.cpu.linear.weight_gradients`, fastest with 192 to 288 tokens."""


@dataclass(frozen=True)
class Group:
    """``count`` sequences from ``first`` on, padded to ``width`` tokens, in the slots from ``start`` on."""

    first: int
    count: int
    width: int
    start: int
    padded: bool

    @property
    def stop(self) -> int:
        """End of the group's slots (exclusive)."""
        return self.start + self.count * self.width


@dataclass(frozen=True)
class Block:
    """Values of the tokens of some sequences, one sequence a row: ``values[k, width, …]``.

    ``mask``: which places are tokens, bool[k, width]; ``None``: all. ``longest``: tokens of the longest.
    ``unseen``: which of the tokens no token attends to, bool[k, width]; ``None``: none.
    """

    values: Tensor
    mask: Tensor | None
    longest: int
    unseen: Tensor | None = None


class OnDevice:
    """A dataclass whose tensors, those of such dataclasses and mappings within among them, move together."""

    def to(self, device: torch.device | str) -> Self:
        """The same on another device; what is no tensor stays where it is."""
        parts: Any = {part.name: getattr(self, part.name) for part in fields(cast(Any, self))}
        return cast(Self, replace(cast(Any, self), **_moved(parts, device)))


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, dict):
        return {name: _moved(part, device) for name, part in value.items()}
    if isinstance(value, Tensor):
        return sent(value, torch.device(device))
    return value.to(device) if isinstance(value, OnDevice) else value


def sent(value: Tensor, device: torch.device) -> Tensor:
    """``value`` on ``device``; to a GPU by way of pinned memory, which is copied while the host goes on."""
    if device.type == "cuda" and value.device.type == "cpu":
        value = value.pin_memory()
    # Elsewhere a copy that is not waited for may be read before it is there.
    return value.to(device, non_blocking=device.type == "cuda")


class Counted:
    """Sequences whose lengths the host knows."""

    sizes: NDArray[np.int64]
    """Tokens of each sequence, int64[n]."""

    @property
    def tokens(self) -> int:
        """Tokens of all sequences."""
        return int(self.sizes.sum())

    @property
    def attended(self) -> int:
        """Sum of squared lengths: (query, key) pairs of attention that are not padding."""
        return int(np.square(self.sizes).sum())


@dataclass(frozen=True)
class TokenBatch(OnDevice, Counted):
    """Token ids of ``n`` sequences, packed, with the groups that attention sees.

    ``ids``: int64[T], the tokens in layout order, then at least one blank (id 0) up to a multiple of
    ``TOKEN_MULTIPLE``; ``positions``: int64[T], place of each token in its sequence; ``widths``: int64[T],
    width of its group; ``slots``: int64[T], its slot; ``places``: int64[S], the token of each slot,
    the first blank where it is padding; ``lengths``: int64[n] in layout order; ``inverse``:
    int64[n], place in layout order of each sequence in the caller's order.
    """

    ids: Tensor
    positions: Tensor
    widths: Tensor
    slots: Tensor
    places: Tensor
    lengths: Tensor
    inverse: Tensor
    groups: tuple[Group, ...]
    sizes: NDArray[np.int64]
    """``lengths`` in the memory of the host."""
    unseen: Tensor | None = None
    """Tokens that attend to others and that no token attends to, bool[T]; ``None``: there are none."""

    @property
    def real(self) -> Tensor:
        """Which tokens of the batch are not blank: bool[T]."""
        return torch.arange(len(self.ids), device=self.ids.device) < self.tokens

    def blocks(self, values: Tensor) -> list[Block]:
        """Values by token, ``[T, …]``, by sequence: block after block, the sequences in layout order.

        Padding has the values of a blank token. Gradients are passed on.
        """
        rows, blocks = self._route.to_slots(values), []
        for group in self.groups:
            own = rows[group.start : group.stop].view(group.count, group.width, *values.shape[1:])
            mask = self.mask(group) if group.padded else None
            longest = int(self.sizes[group.first + group.count - 1])
            blocks.append(Block(own, mask, longest, self.unseen_slots(group)))
        return blocks

    def packed(self, blocks: list[Block]) -> Tensor:
        """Values by token, ``[T, …]``, of what :meth:`blocks` gives; blank ones are zero.

        Gradients are passed on.
        """
        return self._route.to_tokens(torch.cat([block.values.flatten(0, 1) for block in blocks]))

    def per_sequence(self, function: Callable[..., Tensor], *values: Tensor) -> Tensor:
        """Values by token, ``[T]``, that follow from those of its whole sequence; blank ones are zero.

        ``function``: given a block ``[k, width]`` of each of ``values[T]``, returns another. No gradient
        is recorded.
        """
        rows = [self._route.gathered(part) for part in values]
        found = []
        for group in self.groups:
            parts = (row[group.start : group.stop].view(group.count, group.width) for row in rows)
            found.append(function(*parts).flatten())
        return self._route.returned(torch.cat(found))

    def by_caller(self, rows: Tensor) -> Tensor:
        """Rows of the sequences in layout order, ``[n, …]``, in the caller's order."""
        return rows[self.inverse]

    def split(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """Values by token, ``[T, …]`` on the host, of each sequence in the caller's order."""
        order = self.inverse.cpu().numpy()
        starts, sizes = self.starts()[order], self.sizes[order]
        return [values[start : start + size] for start, size in zip(starts, sizes, strict=True)]

    def select(self, sequences: slice | Tensor) -> tuple[TokenBatch, Tensor]:
        """Some sequences of the caller's order as a batch of their own (of a batch on the CPU).

        Returns: the batch, and where each of its tokens, the blank ones excepted, lies in this one:
        int64[Σ lengths].
        """
        members = self.inverse[sequences].numpy()
        starts, lengths = self.starts()[members], self.sizes[members]
        # Its ids are these numbers first: the layout then says where each of them went.
        tokens = group_tokens(np.repeat(starts, lengths) + within(lengths), lengths)
        places = tokens.ids[: tokens.tokens]
        ids = F.pad(self.ids[places], (0, len(tokens.ids) - len(places)))
        return replace(tokens, ids=ids), places

    @property
    def _route(self) -> Route:
        """Tokens ``[T, …]``, slots ``[S, …]`` with each group as ``count`` × ``width`` consecutive rows."""
        return Route(self.places, self.slots, self.tokens)

    def mask(self, group: Group) -> Tensor:
        """Which slots of a group are not padding: bool[count, width]."""
        lengths = self.lengths[group.first : group.first + group.count]
        return torch.arange(group.width, device=lengths.device) < lengths[:, None]

    def unseen_slots(self, group: Group) -> Tensor | None:
        """Which slots of a group hold tokens that no token attends to: bool[count, width]."""
        if self.unseen is None:
            return None
        return self.unseen[self.places[group.start : group.stop]].view(group.count, group.width)

    def starts(self) -> NDArray[np.int64]:
        """Place of each sequence's first token in layout order, and the last one's end: int64[n + 1]."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def chunks(self, size: int) -> list[tuple[TokenBatch, slice]]:
        """At most ``size`` sequences each, in layout order, with the tokens they occupy in this batch."""
        starts = self.starts()
        bounds = [(first, min(first + size, len(self.sizes))) for first in range(0, len(self.sizes), size)]
        return [(self._chunk(*bound, starts), slice(*starts[list(bound)].tolist())) for bound in bounds]

    def _chunk(self, first: int, last: int, starts: NDArray[np.int64]) -> TokenBatch:
        """By slices alone: nothing is read from a GPU."""
        groups, begin = [], None
        for group in self.groups:
            low, high = max(first, group.first), min(last, group.first + group.count)
            if low < high:
                slot = group.start + (low - group.first) * group.width
                begin = slot if begin is None else begin
                groups.append(Group(low - first, high - low, group.width, slot - begin, group.padded))
        assert begin is not None
        tokens = slice(int(starts[first]), int(starts[last]))
        slots = slice(begin, begin + groups[-1].stop)
        own = self.sizes[first:last]
        return TokenBatch(
            ids=_with_blanks(self.ids[tokens]),
            positions=_with_blanks(self.positions[tokens]),
            widths=_with_blanks(self.widths[tokens]),
            slots=_with_blanks(self.slots[tokens] - begin),
            places=(self.places[slots] - tokens.start).clamp_max(int(own.sum())),
            lengths=self.lengths[first:last],
            inverse=torch.arange(last - first, device=self.inverse.device),
            groups=tuple(groups),
            sizes=own,
        )


def plan_groups(lengths: np.ndarray, group_cost: int = GROUP_COST_SCORES) -> list[tuple[int, int]]:
    """Cut sequences sorted by length into groups of the fewest scores plus ``group_cost`` a group.

    ``lengths``: int[n], ascending. Returns ``(count, width)`` per group: widths are multiples of 32 and
    counts of 16 (the first takes the rest), so that the matrix products of all batches have few shapes.
    Exact under that rule, by dynamic programming over the possible cuts.
    """
    ends = np.unique(np.concatenate([[0], np.arange(len(lengths), 0, -COUNT_MULTIPLE)]))
    widths = -(-lengths[ends[1:] - 1] // WIDTH_MULTIPLE) * WIDTH_MULTIPLE
    best = np.zeros(len(ends))
    cut = np.zeros(len(ends), dtype=np.int64)
    for j in range(1, len(ends)):
        costs = best[:j] + (ends[j] - ends[:j]) * widths[j - 1] ** 2 + group_cost
        cut[j] = int(np.argmin(costs))
        best[j] = costs[cut[j]]
    groups: list[tuple[int, int]] = []
    j = len(ends) - 1
    while j > 0:
        i = int(cut[j])
        groups.append((int(ends[j] - ends[i]), int(widths[j - 1])))
        j = i
    return groups[::-1]


def group_tokens(ids: np.ndarray, lengths: np.ndarray, group_cost: int = GROUP_COST_SCORES) -> TokenBatch:
    """Lay out concatenated sequences: ``ids`` int[Σ lengths], ``lengths`` int[n], all > 0."""
    order = np.argsort(lengths, kind="stable")
    sizes = lengths[order].astype(np.int64)
    plan = plan_groups(sizes, group_cost)
    groups: list[Group] = []
    first = start = 0
    for count, width in plan:
        groups.append(Group(first, count, width, start, padded=int(sizes[first]) < width))
        first, start = first + count, groups[-1].stop
    of_sequence = np.repeat([width for _, width in plan], [count for count, _ in plan])
    positions = within(sizes)
    slots = positions + np.repeat(np.cumsum(of_sequence) - of_sequence, sizes)
    places = np.full(start, len(slots))
    places[slots] = np.arange(len(slots))
    inverse = np.empty(len(order), dtype=np.int64)
    inverse[order] = np.arange(len(order))
    sources = positions + np.repeat((np.cumsum(lengths) - lengths)[order], sizes)
    return TokenBatch(
        ids=_with_blanks(torch.from_numpy(ids[sources].astype(np.int64))),
        positions=_with_blanks(torch.from_numpy(positions)),
        widths=_with_blanks(torch.from_numpy(np.repeat(of_sequence, sizes))),
        slots=_with_blanks(torch.from_numpy(slots)),
        places=torch.from_numpy(places),
        lengths=torch.from_numpy(sizes),
        inverse=torch.from_numpy(inverse),
        groups=tuple(groups),
        sizes=sizes,
    )


def _with_blanks(values: Tensor) -> Tensor:
    """``[T]`` with at least one zero more, up to a multiple of ``TOKEN_MULTIPLE``."""
    return F.pad(values, (0, TOKEN_MULTIPLE - len(values) % TOKEN_MULTIPLE))
