"""Gradient caching at a large batch: pairs per second, and the memory that one step takes.

As a program (``python -m benchmarks.caching SIZE DEVICE PRECISION [MINI]``) it prints the bytes by which
memory (resident, or the GPU's) rises in a forward and backward pass of a fresh process: no earlier batch is
counted.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import psutil
import torch

from benchmarks.peer import Effort
from benchmarks.stages import peak_resident_bytes
from benchmarks.training import ours, sentence_transformers
from benchmarks.work import model_config, tokenizer, training_pairs
from retrieval.data.layout import group_tokens
from retrieval.models.families import build_scorer

LARGE_BATCH, MINI_BATCH = 1024, 64


EFFORT = Effort(1, 2)


def plain(size: str, device: str, precision: str) -> float:
    """Pairs per second of whole batches."""
    return ours(size, 0.1, precision, device, LARGE_BATCH, steps=EFFORT)


def cached(size: str, device: str, precision: str) -> float:
    """Pairs per second with gradient caching."""
    return ours(size, 0.1, precision, device, LARGE_BATCH, MINI_BATCH, EFFORT)


def peer(size: str, device: str, precision: str) -> float:
    """Pairs per second of CachedMultipleNegativesRankingLoss."""
    return sentence_transformers(size, 0.1, precision == "bf16", device, LARGE_BATCH, MINI_BATCH, EFFORT)


def step_bytes(size: str, mini: int | None, device: str, precision: str) -> int:
    """Bytes that a forward and backward pass over a large batch takes, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.caching",
        size,
        device,
        precision,
        *([str(mini)] if mini else []),
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(printed.splitlines()[-1])


def _measure(size: str, device: str, precision: str, mini: int | None) -> int:
    pairs = training_pairs(LARGE_BATCH)
    rows = np.arange(LARGE_BATCH)
    ids, lengths = (
        np.concatenate(parts)
        for parts in zip(pairs.queries.gather(rows), pairs.passages.gather(rows), strict=True)
    )
    encoder = build_scorer(model_config(size, 0.1), tokenizer(), 1, precision).train().to(device)
    encoder.mini_batch_size = mini
    encoder(group_tokens(ids[: lengths[:8].sum()], lengths[:8]).to(device)).sum().backward()
    before = _held(device)
    encoder(group_tokens(ids, lengths).to(device)).sum().backward()
    return _peak(device) - before


def _held(device: str) -> int:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return int(psutil.Process().memory_info().rss)


def _peak(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return peak_resident_bytes()


if __name__ == "__main__":
    size, device, precision, *mini = sys.argv[1:]
    print(_measure(size, device, precision, int(mini[0]) if mini else None))
