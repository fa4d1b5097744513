"""Two cells on two cores: side by side with one thread each, or one after the other with both threads.

As a program (``python -m benchmarks.cells SIZE THREADS PRECISION``) it is one cell and prints its speed.
"""

from __future__ import annotations

import os
import subprocess
import sys

import torch

from benchmarks.peer import Effort
from benchmarks.training import ours

EFFORTS = {"tiny": Effort(20, 60), "mini": Effort(10, 20)}


def _cell(size: str, threads: int, precision: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.cells", size, str(threads), precision]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def _rate(cell: subprocess.Popen[str]) -> float:
    printed, _ = cell.communicate()
    return float(printed.splitlines()[-1])


def side_by_side(size: str, precision: str) -> float:
    """Pairs per second of both together."""
    cells = [_cell(size, 1, precision) for _ in range(2)]
    return sum(_rate(cell) for cell in cells)


def one_after_the_other(size: str, precision: str) -> float:
    """Pairs per second of either."""
    return _rate(_cell(size, 2, precision))


if __name__ == "__main__":
    from retrieval.run.hardware import quiet

    quiet()
    torch.set_num_threads(int(sys.argv[2]))
    print(ours(sys.argv[1], 0.0, sys.argv[3], steps=EFFORTS[sys.argv[1]]))
