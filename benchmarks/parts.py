"""What competes in ``python -m benchmarks``: parts, their contestants, and who is the reference of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks import caching, cells, encoding, search, training, utilisation

Contestants = dict[str, Callable[[], float]]
"""Name -> speed per second; the first one is the reference of the ratios."""


@dataclass(frozen=True)
class Options:
    """How much of each part is run."""

    sizes: tuple[str, ...]
    steps: int
    passages: int


@dataclass(frozen=True)
class Match:
    """Contestants that do the same work."""

    part: str
    work: str
    unit: str
    contestants: Contestants


def _training(options: Options) -> Iterator[Match]:
    for size in options.sizes:
        entries: Contestants = {
            name: partial(run, size, options.steps) for name, run in training.CONTESTANTS.items()
        }
        yield Match("training", size, "pairs", entries)


def _encoding(options: Options) -> Iterator[Match]:
    for size in options.sizes:
        entries: Contestants = {
            "sentence-transformers": partial(encoding.sentence_transformers, size, options.passages),
            "ours fp32": partial(encoding.ours, size, options.passages, "32"),
            "ours bf16": partial(encoding.ours, size, options.passages, "bf16"),
        }
        yield Match("encoding", size, "passages", entries)


def _search(options: Options) -> Iterator[Match]:
    entries: Contestants = {
        "beir": partial(search.beir, 1000, 100_000),
        "ours": partial(search.ours, 1000, 100_000),
    }
    yield Match("search", "1,000 × 100k × 256", "queries", entries)


def _cells(options: Options) -> Iterator[Match]:
    for size in ("tiny", "mini"):
        entries: Contestants = {
            "one after the other, two threads": partial(cells.one_after_the_other, size, 4 * options.steps),
            "side by side, one thread each": partial(cells.side_by_side, size, 4 * options.steps),
        }
        yield Match("cells", f"2 × {size}", "pairs", entries)


def _utilisation(options: Options) -> Iterator[Match]:
    entries: Contestants = {
        "bf16 matrix product": partial(utilisation.product, 1),
        "training (MFU)": partial(utilisation.training, "base", options.steps, 1),
    }
    yield Match("utilisation", "base, one thread", "FLOP", entries)


def _caching(options: Options) -> Iterator[Match]:
    entries: Contestants = {
        "plain": partial(caching.plain, "mini"),
        "gradient caching": partial(caching.cached, "mini"),
        "sentence-transformers cached, bf16": partial(caching.peer, "mini"),
    }
    yield Match("caching", f"mini, batch {caching.LARGE_BATCH:,}", "pairs", entries)


PARTS: dict[str, Callable[[Options], Iterator[Match]]] = {
    "training": _training,
    "encoding": _encoding,
    "search": _search,
    "cells": _cells,
    "utilisation": _utilisation,
    "caching": _caching,
}
