"""The heap is trimmed when it outgrows the first steps, and only then."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from retrieval.run.heap import heap_holder
from retrieval.training.memory import ALLOWANCE, GROWTH, SETTLED_STEPS, HeapCallback


class Resident:
    """A process whose resident memory the test sets."""

    def __init__(self) -> None:
        self.rss = 2**30

    def memory_info(self) -> Any:
        return SimpleNamespace(rss=self.rss)


def test_trims_only_above_the_settled_level() -> None:
    callback, process, trimmed = HeapCallback(), Resident(), []
    callback.process, callback.trim = process, lambda pad: trimmed.append(pad) or 1
    callback.huge = SimpleNamespace(round_done=lambda: None, again=lambda: None)
    module = SimpleNamespace(device=torch.device("cpu"))

    def step() -> None:
        callback.on_train_batch_end(None, module, None, None, 0)

    process.rss = 2**31  # start-up is no measure
    for _ in range(SETTLED_STEPS - 1):
        step()
    process.rss = 2**30
    step()
    process.rss = int(GROWTH * 2**30 + ALLOWANCE)
    step()
    assert not trimmed
    process.rss += 2**20
    step()
    assert trimmed == [0]


def test_does_nothing_without_the_c_function_or_on_another_device() -> None:
    callback = HeapCallback()
    callback.trim = None
    callback.on_train_batch_end(None, SimpleNamespace(device=torch.device("cpu")), None, None, 0)
    callback.trim = lambda pad: 1
    callback.on_train_batch_end(None, SimpleNamespace(device=torch.device("meta")), None, None, 0)
    assert callback.steps == 0


def test_the_heap_is_kept_while_training_and_given_back_after() -> None:
    callback, calls = HeapCallback(), []
    callback.hold = lambda keep: calls.append(keep)
    callback.trim = lambda pad: calls.append("trimmed") or 1
    module = SimpleNamespace(device=torch.device("cpu"))
    callback.on_train_start(None, module)
    assert calls == [True]
    callback.on_train_end(None, module)
    assert calls == [True, False, "trimmed"]
    calls.clear()
    callback.on_train_start(None, SimpleNamespace(device=torch.device("meta")))
    assert not calls


KEPT = """
import ctypes
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a fault a page of 4 KiB, on any machine
import resource, torch
from retrieval.run.heap import heap_holder, heap_trimmer

def faults():
    for _ in range(40):  # until blocks no longer end up at another place
        torch.ones(16_000_000)  # 64 MB, above what glibc keeps by itself
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

hold = heap_holder()
found = []
# Given back is tried before any block was kept: one that lies free in the heap would be taken again.
for states in ((False,), (True, False), (True,)):
    for keep in states:
        hold(keep)
    heap_trimmer()(0)
    found.append(faults())
print(*found)
"""


@pytest.mark.skipif(heap_holder() is None, reason="the C library has no mallopt")
def test_held_blocks_are_not_mapped_anew() -> None:
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    before, after, kept = map(int, done.stdout.split())
    assert kept < before / 10
    assert kept < after / 10
