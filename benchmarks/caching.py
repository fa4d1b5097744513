"""Gradient caching at a large batch: pairs per second, and the memory that one step takes.

As a program (``python -m benchmarks.caching SIZE [MINI]``) it prints the bytes by which resident memory rises
in a forward and backward pass: of a fresh process, so that nothing of an earlier batch is counted.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np
import psutil

from benchmarks.training import ours, sentence_transformers
from benchmarks.work import model_config, tokenizer, training_pairs
from retrieval.models.backbones import build_encoder
from retrieval.models.layout import group_tokens

LARGE_BATCH, MINI_BATCH = 1024, 128


def plain(size: str) -> float:
    """Pairs per second of whole batches."""
    return ours(size, 2, 0.1, "bf16", LARGE_BATCH)


def cached(size: str) -> float:
    """Pairs per second with gradient caching."""
    return ours(size, 2, 0.1, "bf16", LARGE_BATCH, MINI_BATCH)


def peer(size: str) -> float:
    """Pairs per second of CachedMultipleNegativesRankingLoss in bf16."""
    return sentence_transformers(size, 1, 0.1, True, LARGE_BATCH, MINI_BATCH)


def step_bytes(size: str, mini: int | None) -> int:
    """Bytes that a forward and backward pass over a large batch takes, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.caching", size, *([str(mini)] if mini else [])]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(printed.splitlines()[-1])


def _measure(size: str, mini: int | None) -> int:
    pairs = training_pairs(LARGE_BATCH)
    rows = np.arange(LARGE_BATCH)
    ids, lengths = (
        np.concatenate(parts)
        for parts in zip(pairs.queries.gather(rows), pairs.passages.gather(rows), strict=True)
    )
    encoder = build_encoder(model_config(size, 0.1), tokenizer(), 1, "bf16").train()
    encoder.mini_batch_size = mini
    encoder(group_tokens(ids[: lengths[:8].sum()], lengths[:8])).sum().backward()
    before = psutil.Process().memory_info().rss
    encoder(group_tokens(ids, lengths)).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


if __name__ == "__main__":
    print(_measure(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None))
