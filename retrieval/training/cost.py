"""What a run cost: analytic FLOPs, and the share of the machine's measured matrix-product speed."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

import torch

from retrieval.data.batches import Batch
from retrieval.data.cache import digest
from retrieval.models.flops import Work
from retrieval.models.scorer import DTYPES
from retrieval.run.files import write_text
from retrieval.run.manifest import cpu_model


@dataclass(frozen=True)
class Spent:
    """What went into one term of the loss: steps, pairs, tokens of their texts, and work."""

    steps: int = 0
    pairs: int = 0
    tokens: int = 0
    work: Work = field(default_factory=Work)

    @classmethod
    def of_step(cls, batch: Batch, work: Work) -> Spent:
        """One step, all processes' shares of it together."""
        return cls(1, batch.pairs, (batch.shard or batch.tokens).tokens, work)

    def __add__(self, more: Spent) -> Spent:
        return Spent.from_list([a + b for a, b in zip(self.to_list(), more.to_list(), strict=True)])

    def to_list(self) -> list[float]:
        """Plain numbers, for a checkpoint."""
        return [self.steps, self.pairs, self.tokens, *astuple(self.work)]

    @classmethod
    def from_list(cls, numbers: Sequence[float]) -> Spent:
        """What :meth:`to_list` wrote."""
        steps, pairs, tokens = map(int, numbers[:3])
        return cls(steps, pairs, tokens, Work(*numbers[3:]))


CORE_PRODUCT, GPU_PRODUCT, GPU_LAUNCHES = 2048, 8192, 10
"""Sizes of the square products by which speed is measured, and how many a GPU is given at once."""


def peak_flops(device: torch.device, precision: str, cache: Path, size: int | None = None) -> float:
    """Matrix-product speed of this machine in FLOP/s: best of several products, measured once.

    Square products of ``size`` (by default :data:`GPU_PRODUCT` on a GPU, else :data:`CORE_PRODUCT`) in the
    run's precision with the present number of threads; cached per processor, precision, threads and size
    under ``cache/machine/``. Of a GPU, several are launched before it is waited for: a launch takes as long
    as a small product.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 0
    usual, launched = (GPU_PRODUCT, GPU_LAUNCHES) if device.type == "cuda" else (CORE_PRODUCT, 1)
    size = size or usual
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model() or platform.machine()
    key = digest([name, device.type, precision, threads, size, torch.__version__])
    path = cache / "machine" / f"{key[:16]}.json"
    if path.is_file():
        return float(json.loads(path.read_text(encoding="utf-8"))["flops"])
    a = torch.randn(size, size, device=device, dtype=DTYPES[precision])
    seconds = min(_timed_products(a, launched) for _ in range(6))
    flops = 2.0 * size**3 * launched / seconds
    record = {"name": name, "precision": precision, "threads": threads, "flops": flops}
    write_text(path, json.dumps(record))
    return flops


def _timed_products(a: torch.Tensor, launched: int) -> float:
    if a.is_cuda:
        torch.cuda.synchronize(a.device)
    start = time.perf_counter()
    for _ in range(launched):
        _ = a @ a
    if a.is_cuda:
        torch.cuda.synchronize(a.device)
    return time.perf_counter() - start
