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
    machine,
    other_families,
    search,
    training,
    utilisation,
)
from benchmarks.contest import OURS, Match

ENCODING_SHARE = {"tiny": 1, "mini": 5, "small": 20, "medium": 40, "base": 40}
"""What the number of passages is divided by on a CPU."""

NAMES = {"32": "fp32", "bf16": "bf16"}
"""Of precisions, in tables."""

PEER = "sentence-transformers"

Contestants = dict[str, Callable[[], float]]
"""Name -> speed per second."""


@dataclass(frozen=True)
class Options:
    """How much of each part is run."""

    sizes: tuple[str, ...]
    passages: int
    device: str
    quick: bool = False
    """The main rows alone, with less work each."""

    @property
    def best(self) -> str:
        """What ``train.precision=auto`` is on the device."""
        return machine.automatic(self.device)

    @property
    def precisions(self) -> list[str]:
        """Those that the device multiplies without emulation."""
        return ["32"] if self.best == "32" else ["32", "bf16"]


def _against_peer(
    options: Options, peer: Callable[[bool], float], own: Callable[[str], float], all_own: bool = True
) -> Contestants:
    """The peer in every precision of the device, and ours in each of them or in the best alone.

    ``peer``: whether it is bf16 -> speed; ``own``: precision -> speed.
    """
    entries: Contestants = {
        f"{PEER} {NAMES[each]}": partial(peer, each == "bf16") for each in options.precisions
    }
    chosen = options.precisions if all_own and not options.quick else [options.best]
    return entries | {f"{OURS} {NAMES[each]}": partial(own, each) for each in chosen}


def _training(options: Options) -> Iterator[Match]:
    for size in options.sizes:
        steps = training.effort(size, options.device, options.quick)
        for dropout in training.DROPOUTS[:1] if options.quick else training.DROPOUTS:
            same = {"device": options.device, "steps": steps}
            peer = partial(training.sentence_transformers, size, dropout, **same)
            own = partial(training.ours, size, dropout, **same)
            entries = _against_peer(options, peer, own, all_own=False)
            if options.device == "cuda" and options.best == "bf16":
                entries[f"{OURS} bf16, compiled"] = partial(own, "bf16", compiled=True)
            yield Match("training", f"{size}, dropout {dropout:g}", "pairs", entries)


def _encoding(options: Options) -> Iterator[Match]:
    for size in options.sizes[:2] if options.quick else options.sizes:
        passages = max(500, options.passages // (ENCODING_SHARE[size] if options.device == "cpu" else 1))
        peer = partial(encoding.sentence_transformers, size, passages, device=options.device)
        own = partial(encoding.ours, size, passages, device=options.device)
        yield Match(
            "encoding", f"{size}, {passages:,} passages", "passages", _against_peer(options, peer, own)
        )


def _search(options: Options) -> Iterator[Match]:
    entries: Contestants = {
        "beir": partial(search.beir, 1000, 100_000),
        "ours": partial(search.ours, 1000, 100_000),
    }
    yield Match("search", "1,000 × 100k × 256", "queries", entries)


def _cells(options: Options) -> Iterator[Match]:
    on_gpu = options.device == "cuda"
    for size in ("tiny",) if on_gpu else ("tiny", "mini"):
        same = (size, options.best, options.device)
        alone, beside = partial(cells.one_after_the_other, *same), partial(cells.side_by_side, *same)
        entries: Contestants = (
            {"one after the other": alone, "side by side": beside}
            if on_gpu
            else {"one after the other, two threads": alone, "side by side, one thread each": beside}
        )
        work = f"{cells.ON_ONE_GPU} × {size} on one GPU" if on_gpu else f"2 × {size}"
        yield Match("cells", work, "pairs", entries)


def _utilisation(options: Options) -> Iterator[Match]:
    entries: Contestants = {
        f"{NAMES[options.best]} matrix product": partial(
            utilisation.product, 1, options.device, options.best
        ),
        "training (MFU)": partial(utilisation.training, "base", 1, options.device, options.best),
    }
    yield Match("utilisation", "base, one thread", "FLOP", entries)


def _caching(options: Options) -> Iterator[Match]:
    same = (options.device, options.best)
    entries: Contestants = {
        "plain": partial(caching.plain, "mini", *same),
        "gradient caching": partial(caching.cached, "mini", *same),
        f"{PEER} cached, {NAMES[options.best]}": partial(caching.peer, "mini", *same),
    }
    yield Match("caching", f"mini, batch {caching.LARGE_BATCH:,}", "pairs", entries)


def _late_interaction(options: Options) -> Iterator[Match]:
    scores: Contestants = {
        "sentence-transformers": partial(late_interaction.their_scores, options.device),
        "ours": partial(late_interaction.our_scores, options.device),
    }
    if not options.quick:
        yield Match("late-interaction", "MaxSim of 64 × 64, forward and backward", "batches", scores)
    for size in options.sizes[:1] if options.quick else options.sizes:
        same = {"device": options.device, "quick": options.quick}
        peer = partial(late_interaction.sentence_transformers, size, **same)
        trained = _against_peer(options, peer, partial(late_interaction.ours, size, **same))
        yield Match("late-interaction", f"training {size}", "pairs", trained)


def _other_family(family: str, options: Options) -> Iterator[Match]:
    for size in options.sizes[:1] if options.quick else options.sizes:
        if size not in other_families.EFFORTS[family]:
            continue
        same = {"device": options.device, "quick": options.quick}
        peer = partial(other_families.sentence_transformers, family, size, **same)
        entries = _against_peer(options, peer, partial(other_families.ours, family, size, **same))
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
    "cuda": ("training", "encoding", "search", "cells", "utilisation", "caching", "late-interaction", *OTHER),
}
"""What is measured on each."""

QUICK = ("training", "encoding", "late-interaction", *OTHER)
"""The parts that ``--quick`` runs."""
