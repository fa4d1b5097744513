"""Memory of preparing a collection stays flat while its corpus grows."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.data import sources, tokens
from retrieval.data.collection import open_collection
from retrieval.data.sources.hub import HubConfig
from retrieval.data.sources.synthetic import SyntheticConfig
from retrieval.data.tokens import TokenStores, tokenizer_fingerprint, train_wordpiece

SMALL, LARGE = 4_000, 16_000
BYTES_A_PASSAGE = 150
"""A passage of these collections has about 250 bytes of text, so no text can be kept."""


def drawn(passages: int, work: Path) -> Path:
    config = SyntheticConfig(passages=passages, queries=200, topics=20, words=600, domains=0)
    return sources.prepare(config, work / "drawn").in_domain


def peak(step: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def growth(step: Callable[[int], object]) -> float:
    """Bytes by which the peak grows with a passage."""
    step(SMALL // 4)  # modules and caches of the first call
    sizes = {size: peak(lambda size=size: step(size)) for size in (SMALL, LARGE)}  # type: ignore[misc]
    return (sizes[LARGE] - sizes[SMALL]) / (LARGE - SMALL)


def test_index(tmp_path: Path) -> None:
    folders = {size: drawn(size, tmp_path) for size in (SMALL // 4, SMALL, LARGE)}
    assert growth(lambda size: open_collection(folders[size], tmp_path / "cache")) < BYTES_A_PASSAGE


def test_token_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "CHUNK", 256)
    cache = tmp_path / "cache"
    collections = {size: open_collection(drawn(size, tmp_path), cache) for size in (SMALL // 4, SMALL, LARGE)}
    tokenizer = train_wordpiece((text for _, text in collections[SMALL // 4].passages()), 500)
    stores = TokenStores(SyntheticConfig(), cache, tokenizer, tokenizer_fingerprint(tokenizer))
    assert growth(lambda size: stores(collections[size], "passages")) < 40


@pytest.mark.slow
def test_dataset(tmp_path: Path) -> None:
    import datasets

    def write(size: int) -> Path:
        path = tmp_path / f"pairs-{size}.parquet"
        rows = range(size)
        datasets.Dataset.from_dict(
            {"query": [f"question {row}" for row in rows], "passage": [f"answer {row} " * 20 for row in rows]}
        ).to_parquet(str(path))
        return path

    files = {size: write(size) for size in (SMALL // 4, SMALL, LARGE)}

    def prepare(size: int) -> object:
        return sources.prepare(HubConfig(dataset=str(files[size]), test="train[:1%]"), tmp_path / "cache")

    assert growth(prepare) < BYTES_A_PASSAGE
