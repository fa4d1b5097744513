"""Contestants in turn, each in a process of its own, and what their speeds are to each other."""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

Found = TypeVar("Found")

OURS = "ours"
"""First word of the names of contestants that are compared with others' best."""


@dataclass(frozen=True)
class Match:
    """Contestants that do the same work."""

    part: str
    work: str
    unit: str
    contestants: Mapping[str, Callable[[], float]]
    """Name -> speed per second."""

    @property
    def references(self) -> list[str]:
        """Whom the ratios are to, at their best of a round: all that are not ours, or else the first."""
        others = [name for name in self.contestants if name.split()[0] != OURS]
        return others if len(others) < len(self.contestants) else others[:1]


def compete(match: Match, rounds: int, device: str) -> list[dict[str, Any]]:
    """All contestants once a round, so that a change of the machine's load meets all of them.

    Returns: a row a contestant: ``ratio`` is the median over the rounds of its speed to the best reference's
    of the round, ``low`` and ``high`` are the least and the greatest, ``ratios`` holds the medians to each
    other contestant, ``per_second`` is its median speed and ``rounds`` has all of them.
    """
    speeds: dict[str, list[float]] = {name: [] for name in match.contestants}
    for _ in range(rounds):
        for name, run in match.contestants.items():
            speeds[name].append(measured(run, device))
    return rows(match, speeds)


def rows(match: Match, speeds: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """What :func:`compete` returns, of speeds by contestant and round."""
    best = [max(round_) for round_ in zip(*(speeds[name] for name in match.references), strict=True)]
    found = []
    for name, values in speeds.items():
        ratios = _ratios(values, best)
        others = {other: _ratios(values, theirs) for other, theirs in speeds.items() if other != name}
        found.append(
            {
                "part": match.part,
                "work": match.work,
                "contestant": name,
                "reference": name in match.references,
                "unit": f"{match.unit}/s",
                "per_second": statistics.median(values),
                "ratio": statistics.median(ratios),
                "low": min(ratios),
                "high": max(ratios),
                "ratios": {other: statistics.median(each) for other, each in others.items()},
                "rounds": list(values),
            }
        )
    return found


def measured(run: Callable[[], Found], device: str) -> Found:
    """What ``run`` returns; on a CPU, in a process of its own (:func:`alone`).

    A process that was forked from one that has used CUDA, if only to ask for it, cannot use it.
    """
    return alone(run) if device == "cpu" else run()


def alone(run: Callable[[], Found]) -> Found:
    """What ``run`` returns, in a process of its own: none finds heap or threads as another left them.

    Forked, while this process has no threads yet: it computes nothing itself.

    Raises:
        RuntimeError: The process ended without a result.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def compute() -> None:
        # After a fork PyTorch replaces its pool of threads when it is first asked for it. Threads that load
        # the weights of a model ask at once, and one of them may find none ("Invalid thread pool!").
        torch.set_num_threads(torch.get_num_threads())
        sender.send(run())

    process = context.Process(target=compute)
    process.start()
    sender.close()
    try:
        found: Found = receiver.recv()
        return found
    except EOFError as error:
        process.join()
        raise RuntimeError(f"a contestant ended with status {process.exitcode}, see above") from error
    finally:
        process.join()


def _ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(values, others, strict=True)]
