"""How threads wait for each other. It is set before PyTorch is loaded, so nothing heavy is imported here."""

import os

SPINS = "10000"
"""How often a waiting thread of GNU OpenMP looks before it sleeps; its own default is 30 times as often.

With two threads on two idle cores training is as fast. Where another program takes one of the cores,
bert-tiny trains six times as fast and bert-mini twice: docs/logbook/2026-11-28-busy-machine.md.
"""


def wait_asleep() -> None:
    """Let waiting OpenMP threads sleep soon, where the person has not said how they wait.

    The library reads it when it is loaded, so this comes before PyTorch; processes started later inherit it.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = SPINS
