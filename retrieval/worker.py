"""``python -m retrieval.worker CONFIG RANK SIZE PORT``: one more process of a run on several devices.

Started by :func:`retrieval.training.processes.together`, never by a person.
"""

import ctypes
import os
import signal
import sys

from omegaconf import DictConfig, OmegaConf

PR_SET_PDEATHSIG = 1


def main(config: str, rank: int, size: int, port: int) -> None:
    """Train this process's share of every step; nothing is measured or written here."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the process that owns the run decides what they mean
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before it could be followed
        return
    from retrieval.pipeline import train_beside
    from retrieval.training.processes import ProcessGroup

    values = OmegaConf.load(config)
    assert isinstance(values, DictConfig)
    train_beside(values, ProcessGroup(rank, size, port))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
