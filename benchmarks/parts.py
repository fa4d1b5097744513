"""What competes in ``python -m benchmarks``: parts, their contestants, and who is the reference of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks import (
    caching,
    cells,
    encoding,
    late_interaction,
    other_families,
    search,
    training,
    utilisation,
)

ENCODING_SHARE = {"tiny": 1, "mini": 5, "small": 20, "medium": 40, "base": 40}
"""What the number of passages is divided by on a CPU."""

Contestants = dict[str, Callable[[], float]]
"""Name -> speed per second; the first one is the reference of the ratios."""


@dataclass(frozen=True)
class Options:
    """How much of each part is run."""

    sizes: tuple[str, ...]
    passages: int
    device: str


@dataclass(frozen=True)
class Match:
    """Contestants that do the same work."""

    part: str
    work: str
    unit: str
    contestants: Contestants


def _training(options: Options) -> Iterator[Match]:
    for size in options.sizes:
        for dropout, contestants in training.CONTESTANTS.items():
            entries: Contestants = {
                name: partial(run, size, options.device) for name, run in contestants.items()
            }
            yield Match("training", f"{size}, dropout {dropout:g}", "pairs", entries)


def _encoding(options: Options) -> Iterator[Match]:
    for size in options.sizes:
        passages = max(500, options.passages // (ENCODING_SHARE[size] if options.device == "cpu" else 1))
        entries: Contestants = {
            "sentence-transformers": partial(encoding.sentence_transformers, size, passages, options.device),
            "ours fp32": partial(encoding.ours, size, passages, "32", options.device),
            "ours bf16": partial(encoding.ours, size, passages, "bf16", options.device),
        }
        yield Match("encoding", f"{size}, {passages:,} passages", "passages", entries)


def _search(options: Options) -> Iterator[Match]:
    entries: Contestants = {
        "beir": partial(search.beir, 1000, 100_000),
        "ours": partial(search.ours, 1000, 100_000),
    }
    yield Match("search", "1,000 × 100k × 256", "queries", entries)


def _cells(options: Options) -> Iterator[Match]:
    for size in ("tiny", "mini"):
        entries: Contestants = {
            "one after the other, two threads": partial(cells.one_after_the_other, size),
            "side by side, one thread each": partial(cells.side_by_side, size),
        }
        yield Match("cells", f"2 × {size}", "pairs", entries)


def _utilisation(options: Options) -> Iterator[Match]:
    entries: Contestants = {
        "bf16 matrix product": partial(utilisation.product, 1, options.device),
        "training (MFU)": partial(utilisation.training, "base", 1, options.device),
    }
    yield Match("utilisation", "base, one thread", "FLOP", entries)


def _caching(options: Options) -> Iterator[Match]:
    entries: Contestants = {
        "plain": partial(caching.plain, "mini", options.device),
        "gradient caching": partial(caching.cached, "mini", options.device),
        "sentence-transformers cached, bf16": partial(caching.peer, "mini", options.device),
    }
    yield Match("caching", f"mini, batch {caching.LARGE_BATCH:,}", "pairs", entries)


def _late_interaction(options: Options) -> Iterator[Match]:
    scores: Contestants = {
        "sentence-transformers": partial(late_interaction.their_scores, options.device),
        "ours": partial(late_interaction.our_scores, options.device),
    }
    yield Match("late-interaction", "MaxSim of 64 × 64, forward and backward", "batches", scores)
    for size in options.sizes:
        trained: Contestants = {
            f"sentence-transformers {name}": partial(
                late_interaction.sentence_transformers, size, name == "bf16", options.device
            )
            for name in ("fp32", "bf16")
        }
        trained |= {
            f"ours {name}": partial(late_interaction.ours, size, precision, options.device)
            for name, precision in (("fp32", "32"), ("bf16", "bf16"))
        }
        yield Match("late-interaction", f"training {size}", "pairs", trained)


def _other_family(family: str, options: Options) -> Iterator[Match]:
    for size in options.sizes:
        if size not in other_families.EFFORTS[family]:
            continue
        entries: Contestants = {
            f"sentence-transformers {name}": partial(
                other_families.sentence_transformers, family, size, name == "bf16", options.device
            )
            for name in ("fp32", "bf16")
        }
        entries |= {
            f"ours {name}": partial(other_families.ours, family, size, precision, options.device)
            for name, precision in (("fp32", "32"), ("bf16", "bf16"))
        }
        yield Match(family, f"training {size}", "pairs", entries)


PARTS: dict[str, Callable[[Options], Iterator[Match]]] = {
    "training": _training,
    "encoding": _encoding,
    "search": _search,
    "cells": _cells,
    "utilisation": _utilisation,
    "caching": _caching,
    "late-interaction": _late_interaction,
    "sparse": partial(_other_family, "sparse"),
    "cross-encoder": partial(_other_family, "cross-encoder"),
}

OTHER = ("sparse", "cross-encoder")

OF_DEVICE = {
    "cpu": ("training", "encoding", "search", "cells", "utilisation", "caching", "late-interaction", *OTHER),
    "cuda": ("training", "encoding", "utilisation", "caching", "late-interaction", *OTHER),
}
"""What is measured on each."""
