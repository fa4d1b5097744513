"""Stages of a benchmark, each in a process of its own so that its peak resident memory can be read."""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

Stage = Callable[[argparse.Namespace], dict[str, Any]]


def in_own_process(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """What the stage found, with ``seconds`` and ``peak_gb`` (GiB) of its process, which has ``threads``."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, stage, options).result()


def _measured(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.set_num_threads(options.threads)
    started = time.perf_counter()
    found = stage(options)
    status = Path("/proc/self/status").read_text()
    [peak] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return {"seconds": round(time.perf_counter() - started, 1), "peak_gb": int(peak) / 2**20, **found}
