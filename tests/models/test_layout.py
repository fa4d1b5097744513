from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.data.layout import (
    COUNT_MULTIPLE,
    TOKEN_MULTIPLE,
    WIDTH_MULTIPLE,
    TokenBatch,
    group_tokens,
    plan_groups,
)

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@given(LENGTHS, st.integers(0, 200))
@settings(deadline=None)
def test_every_token_lies_where_the_layout_says(lengths: list[int], cost: int) -> None:
    sizes = np.array(lengths)
    ids = np.arange(1, sizes.sum() + 1)
    batch = group_tokens(ids, sizes, cost)
    texts = np.split(ids, np.cumsum(sizes)[:-1])
    starts = batch.starts()
    assert batch.tokens == sizes.sum()
    assert batch.attended == (sizes**2).sum()
    assert batch.lengths.tolist() == batch.sizes.tolist() == sorted(lengths)
    for text, place in zip(texts, batch.inverse.tolist(), strict=True):
        own = slice(starts[place], starts[place + 1])
        assert batch.ids[own].tolist() == text.tolist()
        assert batch.positions[own].tolist() == list(range(len(text)))
    blank = batch.ids[batch.tokens :]
    assert len(blank) > 0
    assert not blank.any()
    assert len(batch.ids) % TOKEN_MULTIPLE == 0
    check_slots(batch)


def check_slots(batch: TokenBatch) -> None:
    """Every token has one slot, in its sequence's row; the slots that are left hold the first blank token."""
    assert [group.first for group in batch.groups] == [0, *np.cumsum([g.count for g in batch.groups])[:-1]]
    assert [group.start for group in batch.groups] == [0, *(group.stop for group in batch.groups[:-1])]
    assert batch.groups[-1].stop == len(batch.places)
    rows = [
        row
        for group in batch.groups
        for row in batch.places[group.start : group.stop].view(group.count, group.width)
    ]
    masks = [mask for group in batch.groups for mask in batch.mask(group)]
    widths = [group.width for group in batch.groups for _ in range(group.count)]
    for row, mask, width, (first, stop) in zip(
        rows, masks, widths, itertools.pairwise(batch.starts().tolist()), strict=True
    ):
        assert row[mask].tolist() == list(range(first, stop))
        assert (row[~mask] == batch.tokens).all()
        assert (batch.widths[first:stop] == width).all()
    assert batch.places[batch.slots[: batch.tokens]].tolist() == list(range(batch.tokens))
    for group in batch.groups:
        assert group.padded == (not bool(batch.mask(group).all()))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=90), st.integers(0, 40_000))
@settings(deadline=None)
def test_plan_has_the_least_cost_of_all_cuts_it_may_make(lengths: list[int], cost: int) -> None:
    ordered = np.sort(np.array(lengths))
    allowed = range(len(ordered) - COUNT_MULTIPLE, 0, -COUNT_MULTIPLE)

    def total(cuts: tuple[int, ...]) -> int:
        bounds = [0, *cuts, len(ordered)]
        return sum((b - a) * rounded(ordered[b - 1]) ** 2 + cost for a, b in itertools.pairwise(bounds))

    cuts = (
        tuple(sorted(chosen))
        for size in range(len(allowed) + 1)
        for chosen in itertools.combinations(allowed, size)
    )
    plan = plan_groups(ordered, cost)
    assert sum(count * width**2 + cost for count, width in plan) == min(map(total, cuts))
    assert sum(count for count, _ in plan) == len(ordered)


def rounded(length: int) -> int:
    return -(-int(length) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE


def test_batches_of_many_lengths_need_few_shapes() -> None:
    random = np.random.default_rng(0)
    shapes = set()
    for _ in range(300):
        lengths = np.sort(random.normal(78, 25, 128).clip(4, 128).astype(np.int64))
        shapes |= set(plan_groups(lengths))
    assert len(shapes) <= (128 // COUNT_MULTIPLE) * (128 // WIDTH_MULTIPLE)
    assert all(count % COUNT_MULTIPLE == 0 and width % WIDTH_MULTIPLE == 0 for count, width in shapes)


def test_moving_a_batch_keeps_it() -> None:
    batch = group_tokens(np.arange(6), np.array([1, 5])).to("cpu")
    assert batch.tokens == 6
    assert torch.equal(batch.inverse.sort().values, torch.arange(2))
    check_slots(batch)


@pytest.mark.parametrize("cost", [0, 10**6])
def test_group_cost_trades_padding_against_groups(cost: int) -> None:
    lengths = np.repeat([32, 64, 96], COUNT_MULTIPLE)
    batch = group_tokens(np.ones(lengths.sum(), int), lengths, cost)
    assert len(batch.groups) == (1 if cost else 3)
