"""Two cells on two cores: side by side with one thread each, or one after the other with both threads.

As a program (``python -m benchmarks.cells SIZE STEPS THREADS``) it is one cell and prints its speed.
"""

from __future__ import annotations

import os
import subprocess
import sys

import torch

from benchmarks.training import ours


def _cell(size: str, steps: int, threads: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.cells", size, str(steps), str(threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def _rate(cell: subprocess.Popen[str]) -> float:
    printed, _ = cell.communicate()
    return float(printed.splitlines()[-1])


def side_by_side(size: str, steps: int) -> float:
    """Pairs per second of both together."""
    cells = [_cell(size, steps, 1) for _ in range(2)]
    return sum(_rate(cell) for cell in cells)


def one_after_the_other(size: str, steps: int) -> float:
    """Pairs per second of either."""
    return _rate(_cell(size, steps, 2))


if __name__ == "__main__":
    from retrieval.notices import quiet

    quiet()
    torch.set_num_threads(int(sys.argv[3]))
    print(ours(sys.argv[1], int(sys.argv[2]), 0.0, "bf16"))
