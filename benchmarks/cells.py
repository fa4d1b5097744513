"""Cells side by side against one after the other: two on two cores, or eight on one GPU.

On two cores side by side is with one thread each, and one after the other with both. As a program
(``python -m benchmarks.cells SIZE THREADS PRECISION DEVICE``) it is one cell and prints its speed.
"""

from __future__ import annotations

import os
import subprocess
import sys

import torch

from benchmarks.peer import Effort
from benchmarks.training import ours

EFFORTS = {"tiny": Effort(20, 60), "mini": Effort(10, 20)}

GPU_EFFORT = Effort(300, 600)
"""Processes do not reach a GPU at the same time; their first steps load it while the others are timed."""

ON_ONE_GPU = 8


def _cell(size: str, threads: int, precision: str, device: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.cells", size, str(threads), precision, device]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def _rate(cell: subprocess.Popen[str]) -> float:
    printed, _ = cell.communicate()
    return float(printed.splitlines()[-1])


def side_by_side(size: str, precision: str, device: str = "cpu") -> float:
    """Pairs per second of all together."""
    cells = [_cell(size, 1, precision, device) for _ in range(2 if device == "cpu" else ON_ONE_GPU)]
    return sum(_rate(cell) for cell in cells)


def one_after_the_other(size: str, precision: str, device: str = "cpu") -> float:
    """Pairs per second of one alone."""
    return _rate(_cell(size, 2, precision, device))


if __name__ == "__main__":
    from retrieval.run.hardware import quiet

    quiet()
    size, threads, precision, device = sys.argv[1:]
    torch.set_num_threads(int(threads))
    print(ours(size, 0.0, precision, device, steps=EFFORTS[size] if device == "cpu" else GPU_EFFORT))
