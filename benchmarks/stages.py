"""Stages of a benchmark, each in a process of its own so that its peak resident memory can be read."""

from __future__ import annotations

import argparse
import multiprocessing
import re
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
    seconds = round(time.perf_counter() - started, 1)
    return {"seconds": seconds, "peak_gb": peak_resident_bytes() / 2**30, **found}


def peak_resident_bytes() -> int:
    """The most memory that this process has held.

    Not by getrusage: its maximum is inherited from the process that started this one.
    """
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(peak) * 1024
