"""The heap is trimmed when it outgrows the first steps, and only then."""

from types import SimpleNamespace
from typing import Any

import torch

from retrieval.training.memory import ALLOWANCE, GROWTH, SETTLED_STEPS, TrimCallback


class Resident:
    """A process whose resident memory the test sets."""

    def __init__(self) -> None:
        self.rss = 2**30

    def memory_info(self) -> Any:
        return SimpleNamespace(rss=self.rss)


def test_trims_only_above_the_settled_level() -> None:
    callback, process, trimmed = TrimCallback(), Resident(), []
    callback.process, callback.trim = process, lambda pad: trimmed.append(pad) or 1
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
    callback = TrimCallback()
    callback.trim = None
    callback.on_train_batch_end(None, SimpleNamespace(device=torch.device("cpu")), None, None, 0)
    callback.trim = lambda pad: 1
    callback.on_train_batch_end(None, SimpleNamespace(device=torch.device("meta")), None, None, 0)
    assert callback.steps == 0
