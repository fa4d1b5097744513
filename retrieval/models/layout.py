"""Length-grouped layout of a batch of token sequences: almost no work on padding, no gather.

Sequences are sorted by length and cut into a few groups; a group of ``n`` sequences is padded to its
longest one and stored as ``n × width`` consecutive tokens. Everything position-wise (linear layers,
layer norms, activations) then runs once over the flat tokens of all groups, queries and passages
together, and attention sees each group as a plain view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

GROUP_COST_TOKENS = 160
"""Padding tokens that one more group is worth: the fixed cost of its attention calls."""
COUNT_MULTIPLE, WIDTH_MULTIPLE = 16, 8
"""Sequences and tokens a group is a multiple of. For matrix products of a shape not seen before oneDNN
generates machine code, which was a third of bert-tiny's training time when every batch brought new shapes."""


@dataclass(frozen=True)
class Group:
    """``count`` sequences padded to ``width`` tokens, from ``start`` in the flat layout."""

    start: int
    count: int
    width: int
    padded: bool

    @property
    def stop(self) -> int:
        """End of the group in the flat layout (exclusive)."""
        return self.start + self.count * self.width


@dataclass(frozen=True)
class TokenBatch:
    """Token ids of ``n`` sequences in the grouped layout.

    ``ids``: int64 ``[T]``, padding id 0 inside groups; ``lengths``: int64 ``[n]`` in layout order;
    ``inverse``: int64 ``[n]``, position in layout order of each sequence in the caller's order.
    """

    ids: Tensor
    lengths: Tensor
    inverse: Tensor
    groups: tuple[Group, ...]
    tokens: int
    """Tokens that are not padding."""
    attended: int
    """Sum of squared lengths: (query, key) pairs of attention that are not padding."""

    def to(self, device: torch.device | str, non_blocking: bool = True) -> TokenBatch:
        """The same batch on another device."""
        return TokenBatch(
            self.ids.to(device, non_blocking=non_blocking),
            self.lengths.to(device, non_blocking=non_blocking),
            self.inverse.to(device, non_blocking=non_blocking),
            self.groups,
            self.tokens,
            self.attended,
        )

    def pin_memory(self) -> TokenBatch:
        """The same batch in page-locked memory (called by the data loader)."""
        return TokenBatch(
            self.ids.pin_memory(),
            self.lengths.pin_memory(),
            self.inverse.pin_memory(),
            self.groups,
            self.tokens,
            self.attended,
        )

    def split(self, flat: Tensor) -> tuple[Tensor, ...]:
        """The tokens of each group, views of ``flat`` ``[T, …]``.

        One operation, whose gradient is one concatenation; that of a slice is as large as ``flat`` itself.
        """
        return torch.split(flat, [group.count * group.width for group in self.groups])

    def mask(self, group: Group) -> Tensor:
        """Which tokens of a group are not padding: bool ``[count, width]``."""
        first = self._first_sequence(group)
        lengths = self.lengths[first : first + group.count]
        return torch.arange(group.width, device=lengths.device) < lengths[:, None]

    def chunks(self, size: int) -> list[tuple[TokenBatch, slice]]:
        """At most ``size`` sequences each, in layout order, with the tokens they occupy in this batch.

        Their ``tokens`` and ``attended`` are zero: the work of a step is that of the whole batch.
        """
        firsts = np.cumsum([0, *(group.count for group in self.groups)])
        found = []
        for first in range(0, len(self.lengths), size):
            last = min(first + size, len(self.lengths))
            parts = [
                (group, max(first, begin) - begin, min(last, begin + group.count) - begin)
                for group, begin in zip(self.groups, firsts.tolist(), strict=False)
                if begin < last and begin + group.count > first
            ]
            start = parts[0][0].start + parts[0][1] * parts[0][0].width
            groups, stop = [], 0
            for group, begin, end in parts:
                groups.append(Group(stop, end - begin, group.width, group.padded))
                stop = groups[-1].stop
            span = slice(start, start + stop)
            inverse = torch.arange(last - first, device=self.inverse.device)
            chunk = TokenBatch(self.ids[span], self.lengths[first:last], inverse, tuple(groups), 0, 0)
            found.append((chunk, span))
        return found

    def _first_sequence(self, group: Group) -> int:
        return sum(other.count for other in self.groups if other.start < group.start)


def plan_groups(lengths: np.ndarray, group_cost: int = GROUP_COST_TOKENS) -> list[tuple[int, int]]:
    """Cut sequences sorted by length into groups with the least padding plus ``group_cost`` a group.

    ``lengths``: int ``[n]``, ascending. Returns ``(count, width)`` per group: widths are multiples of 8 and
    counts of 16 (the first takes the rest), so that the matrix products of all batches have few shapes.
    Exact under that rule, by dynamic programming over the possible cuts.
    """
    ends = np.unique(np.concatenate([[0], np.arange(len(lengths), 0, -COUNT_MULTIPLE)]))
    widths = -(-lengths[ends[1:] - 1] // WIDTH_MULTIPLE) * WIDTH_MULTIPLE
    best = np.zeros(len(ends))
    cut = np.zeros(len(ends), dtype=np.int64)
    for j in range(1, len(ends)):
        costs = best[:j] + (ends[j] - ends[:j]) * widths[j - 1] + group_cost
        cut[j] = int(np.argmin(costs))
        best[j] = costs[cut[j]]
    groups: list[tuple[int, int]] = []
    j = len(ends) - 1
    while j > 0:
        i = int(cut[j])
        groups.append((int(ends[j] - ends[i]), int(widths[j - 1])))
        j = i
    return groups[::-1]


def group_tokens(ids: np.ndarray, lengths: np.ndarray, group_cost: int = GROUP_COST_TOKENS) -> TokenBatch:
    """Lay out concatenated sequences: ``ids`` int ``[Σ lengths]``, ``lengths`` int ``[n]``, all > 0."""
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    plan = plan_groups(ordered, group_cost)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])[order]
    groups: list[Group] = []
    widths = np.repeat([width for _, width in plan], [count for count, _ in plan])
    slots = np.concatenate([[0], np.cumsum(widths)])
    first = 0
    for count, width in plan:
        shortest = int(ordered[first])
        groups.append(Group(int(slots[first]), count, width, padded=shortest < width))
        first += count
    flat = np.zeros(int(slots[-1]), dtype=np.int64)
    within = np.arange(int(ordered.sum())) - np.repeat(np.cumsum(ordered) - ordered, ordered)
    flat[np.repeat(slots[:-1], ordered) + within] = ids[np.repeat(starts, ordered) + within]
    inverse = np.empty(len(order), dtype=np.int64)
    inverse[order] = np.arange(len(order))
    return TokenBatch(
        torch.from_numpy(flat),
        torch.from_numpy(ordered.astype(np.int64)),
        torch.from_numpy(inverse),
        tuple(groups),
        int(lengths.sum()),
        int(np.square(lengths).sum()),
    )
