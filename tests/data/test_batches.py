from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.data.batches import Stream, TrainingPairs, collate, epoch_indexes
from retrieval.data.collection import Judgements
from retrieval.data.layout import sent
from retrieval.data.quality import TokenCounts
from retrieval.data.tokens import TokenStore


def store_of(folder: Path, texts: int) -> TokenStore:
    """Text ``i`` is ``i + 1`` repeated ``i % 5 + 1`` times."""
    folder.mkdir()
    lengths = np.arange(texts) % 5 + 1
    ids = np.repeat(np.arange(1, texts + 1), lengths).astype(np.uint16)
    (folder / "ids.bin").write_bytes(ids.tobytes())
    np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]))
    sizes = {"vocabulary": 1000, "texts": texts, "tokens": len(ids)}
    counts = asdict(TokenCounts(texts, len(ids)))
    (folder / "store.json").write_text(json.dumps({"dtype": "uint16", **sizes, "counts": counts}))
    return TokenStore(folder)


def pairs_of(
    folder: Path, pairs: list[tuple[int, int]], known: list[tuple[int, int]] | None = None
) -> TrainingPairs:
    def judgements(rows: list[tuple[int, int]]) -> Judgements:
        array = np.array(sorted(rows), np.int64)
        return Judgements(array[:, 0], array[:, 1], np.ones(len(rows), np.int32))

    folder.mkdir()
    return TrainingPairs(
        "pairs",
        store_of(folder / "q", 40),
        store_of(folder / "p", 60),
        judgements(pairs),
        judgements(known or pairs),
    )


@given(st.integers(1, 20), st.integers(0, 100), st.integers(0, 45), st.integers(0, 5))
@settings(deadline=None)
def test_draws_are_consecutive_and_every_pass_is_complete(
    size: int, start: int, count: int, seed: int
) -> None:
    whole = epoch_indexes(size, 0, start + count, (seed,))
    assert epoch_indexes(size, start, count, (seed,)).tolist() == whole[start:].tolist()
    for epoch in range((start + count) // size):
        assert sorted(whole[epoch * size : (epoch + 1) * size]) == list(range(size))


@given(st.integers(1, 7), st.integers(1, 4), st.integers(1, 12))
@settings(deadline=None)
def test_sources_take_turns_without_gaps(count: int, sources: int, steps: int) -> None:
    stream = Stream("eff", tuple(object() for _ in range(sources)), count)  # type: ignore[arg-type]
    dealt = [[stream._dealt(place, step * count) for step in range(steps + 1)] for place in range(sources)]
    for step in range(steps):
        assert sum(d[step + 1] - d[step] for d in dealt) == count
    ends = [d[-1] for d in dealt]
    assert max(ends) - min(ends) <= 1


def test_queries_and_passages_of_a_block_match(tmp_path: Path) -> None:
    source = pairs_of(tmp_path / "a", [(i, i + 10) for i in range(30)])
    batch = collate((Stream("eff", (source,), 8),), seed=1, step=0)
    block = batch.blocks["eff"]
    ids = batch.tokens.ids[batch.tokens.starts()[batch.tokens.inverse.numpy()]].numpy()
    queries, passages = ids[block.queries] - 1, ids[block.passages] - 1
    assert (passages[block.labels.numpy()] == queries + 10).all()
    assert batch.pairs == 8


def test_other_relevant_passages_are_no_negatives(tmp_path: Path) -> None:
    # Query 0 has two relevant passages, passage 5 has two queries; the positives stay.
    pairs = [(0, 5), (0, 6), (1, 5), (2, 7)]
    source = pairs_of(tmp_path / "a", pairs)
    batch = collate((Stream("eff", (source,), 4),), seed=1, step=0)
    chosen = source.pairs.take(epoch_indexes(4, 0, 4, (1, 0, 0)))
    relevant = set(pairs)
    for i, query in enumerate(chosen.query_rows.tolist()):
        for j, passage in enumerate(chosen.passage_rows.tolist()):
            expected = i != j and (query, passage) in relevant
            assert bool(batch.blocks["eff"].excluded[i, j]) == expected


def test_a_relevant_pair_outside_the_subset_is_no_negative_either(tmp_path: Path) -> None:
    source = pairs_of(tmp_path / "a", [(0, 5), (1, 6)], known=[(0, 5), (0, 6), (1, 6)])
    excluded = collate((Stream("eff", (source,), 2),), seed=1, step=0).blocks["eff"].excluded
    assert excluded.sum() == 1


def test_batches_depend_on_seed_and_positions_alone(tmp_path: Path) -> None:
    sources = tuple(pairs_of(tmp_path / name, [(i, i) for i in range(9)]) for name in "ab")
    streams = (
        Stream("eff", sources[:1], 4, key=0),
        Stream("rob", sources, 3, key=1),
        Stream("all", sources, 5, key=2, proportional=True),
    )

    def ids(seed: int, step: int, position: int) -> list[int]:
        at = dict.fromkeys(("eff", "rob", "all"), position)
        found: list[int] = collate(streams, seed, step, positions=at).tokens.ids.tolist()
        return found

    every = [ids(5, step, step) for step in range(10)]
    assert [collate(streams, 5, step).tokens.ids.tolist() for step in reversed(range(10))] == every[::-1]
    # What a stream gives follows from its position; the step matters to hard negatives alone.
    assert [ids(5, 3 * step, step) for step in range(10)] == every
    assert [ids(6, step, step) for step in range(10)] != every


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 6), st.integers(1, 6))
@settings(deadline=None, max_examples=30)
def test_a_proportional_stream_gives_every_pair_once_a_pass(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], count: int, batches: int
) -> None:
    folder = tmp_path_factory.mktemp("sources")
    sources = tuple(
        pairs_of(folder / str(number), [(i, i) for i in range(size)]) for number, size in enumerate(sizes)
    )
    stream = Stream("all", sources, count, proportional=True)
    given_out: list[tuple[int, int]] = []
    for position in range(batches):
        drawn = stream.draw(1, position, position)
        assert sum(len(draw.query_rows) for draw in drawn) == count
        given_out += [(sources.index(draw.source), row) for draw in drawn for row in draw.query_rows.tolist()]
    total = sum(sizes)
    expected = [(number, row) for number, size in enumerate(sizes) for row in range(size)]
    # Within a batch pairs stand by source, so only passes that end with a batch can be told apart.
    if total % count == 0:
        for start in range(0, len(given_out) - total + 1, total):
            assert sorted(given_out[start : start + total]) == expected
    distinct = sum(len(indexes) for _, indexes in stream.distinct(1, batches))
    assert distinct == len(set(given_out)) == min(total, batches * count)


@pytest.mark.parametrize(("device", "pinned"), [("cuda", ["pinned", "sent cuda"]), ("cpu", ["sent cpu"])])
def test_what_goes_to_a_gpu_goes_by_pinned_memory(
    device: str, pinned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def pin(self: torch.Tensor) -> torch.Tensor:
        steps.append("pinned")
        return self

    def to(self: torch.Tensor, device: torch.device, non_blocking: bool) -> torch.Tensor:
        assert non_blocking is (device.type == "cuda")
        steps.append(f"sent {device.type}")
        return self

    value = torch.arange(3)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    assert sent(value, torch.device(device)) is value
    assert steps == pinned
