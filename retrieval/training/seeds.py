"""Random streams of a step, as a function of (seed, step): nothing is carried from step to step."""

from __future__ import annotations

import numpy as np

DROPOUT, NOISE = 0, 1
STREAMS = 2
"""Number of streams of a process; those of the next rank follow."""


def step_seed(seed: int, step: int, stream: int) -> int:
    """Seed for a torch generator, below 2³².

    PyTorch's CPU generator reads 32 bits of its seed only, so the three numbers are hashed into them.
    """
    return int(np.random.SeedSequence((seed, step, stream)).generate_state(1)[0])
