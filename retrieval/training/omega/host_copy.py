"""A number of the model's device, as the host gets it without waiting for the steps that follow."""

from __future__ import annotations

import torch
from torch import Tensor


class HostCopy:
    """A copy of a 0-d tensor, begun when it is made and waited for when it is read.

    On a GPU the copy goes to pinned memory behind the work that has been queued so far. Reading waits for
    that work, not for what was queued after it. On a CPU it is a copy.
    """

    def __init__(self, value: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        value = value.detach()
        if value.device.type != "cuda":
            self._value = value.clone()
            return
        self._value = torch.empty((), dtype=value.dtype, pin_memory=True)
        self._value.copy_(value, non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record(torch.cuda.current_stream(value.device))

    def read(self) -> float:
        """The number."""
        if self._event is not None:
            self._event.synchronize()
        return float(self._value)
