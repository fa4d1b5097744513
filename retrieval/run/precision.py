"""In which precision a processor multiplies faster: measured once a machine, then from the cache.

Instruction sets do not tell. With AMX a product in bfloat16 takes a tenth of its time in float32. With
alone it takes half of it on an AMD, and 1.6 times it on a fourth-generation Intel Xeon.
"""

import functools
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

from filelock import FileLock

from retrieval.run.files import read_json, write_json
from retrieval.run.manifest import cpu_model
from retrieval.run.processor import CPUINFO, bfloat16_is_fast, matrix_set

ROWS, WIDTH, WIDER = 2880, 256, 1024
"""The product that is timed: tokens of a training step by a feed-forward layer of bert-mini."""

ROUNDS = 5


def faster_precision(cache: Path, cpuinfo: Path = CPUINFO) -> str:
    """``32`` or ``bf16``, whichever multiplies faster on this processor.

    Where oneDNN would emulate bfloat16 there is no choice. Otherwise both are timed, in a second at most, and
    the outcome is kept in ``cache/machine/``, so that all runs of a machine take the same.
    """
    return _faster(_record(cache, matrix_set(cpuinfo))) if bfloat16_is_fast(cpuinfo) else "32"


def likely_precision(cache: Path, cpuinfo: Path = CPUINFO) -> str:
    """What :func:`faster_precision` found, or, before it measured, what the instruction sets suggest."""
    if not bfloat16_is_fast(cpuinfo):
        return "32"
    known = read_json(_record(cache, matrix_set(cpuinfo)))
    return "bf16" if known is None else str(known["precision"])


@functools.cache
def _record(cache: Path, isa: str) -> Path:
    machine = [cpu_model(), isa, metadata.version("torch"), ROWS, WIDTH, WIDER]
    key = hashlib.sha256(json.dumps(machine).encode()).hexdigest()
    return cache / "machine" / f"precision-{key[:16]}.json"


@functools.cache
def _faster(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        known = read_json(path)
        if known is None:
            seconds = measure()
            faster = min(seconds, key=lambda name: seconds[name])
            known = {"precision": faster, "seconds": seconds, "processor": cpu_model()}
            write_json(path, known)
    return str(known["precision"])


def measure() -> dict[str, float]:
    """Seconds of one product in ``32`` and in ``bf16``: the best of some that take turns, on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        x, weight = torch.ones(ROWS, WIDTH), torch.ones(WIDER, WIDTH)
        halves = x.bfloat16(), weight.bfloat16()
        with torch.inference_mode():
            return best_of_turns(
                {
                    "32": lambda: torch.nn.functional.linear(x, weight),
                    "bf16": lambda: torch.nn.functional.linear(*halves),
                }
            )
    finally:
        torch.set_num_threads(threads)


def best_of_turns(ways: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of each way: the least of some rounds in which they take turns, after one that warms up."""
    rounds = [{name: _timed(way) for name, way in ways.items()} for _ in range(ROUNDS + 1)]
    return {name: min(found[name] for found in rounds[1:]) for name in ways}


def _timed(way: Callable[[], object]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start
