"""How cells share a GPU: how much of one a cell takes, and which GPU has room.

A small model waits for the host, which launches its kernels one by one, so one GPU holds several cells. Each
GPU is divided into places. A cell takes as many as its share of the GPU's time, or of its memory, whichever
is larger. Both come from a probe of the GPU (:mod:`sweeps.launch.probe`); without one, each cell takes a
whole GPU.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.launch.need import Need

MOST_PLACES = 16
"""Cells on a GPU at most: each takes a core of the host as well."""

MEMORY_SHARE = 0.9
"""Of a GPU's memory, what cells may fill together."""

PROCESS_BYTES = 2**30
"""What a process takes on a GPU beside tensors (its context and the libraries' kernels)."""

HELD_TWICE = 1.5
"""What PyTorch's allocator keeps over what tensors need at once."""


@dataclass(frozen=True)
class Sharing:
    """Into how many places each GPU is divided, and what it has."""

    gpus: int
    places: int = 1
    """Of each GPU."""
    memory: int | None = None
    """Bytes of each; ``None``: not known."""
    fixed: bool = False
    """Whether the user gave the number of cells side by side: each then takes one place."""

    @classmethod
    def of(cls, gpus: int, cores: int, slots: int | None, memory: int | None) -> "Sharing":
        """As many places as cores, or as ``slots`` ask for.

        ``memory``: bytes of a GPU, as its probe found; ``None`` without a probe.
        """
        if slots is not None:
            return cls(gpus, max(1, math.ceil(slots / gpus)), memory, fixed=True)
        return cls(gpus, 1 if memory is None else max(1, min(MOST_PLACES, cores // gpus)), memory)

    @property
    def capacity(self) -> int:
        """Places of all GPUs."""
        return self.gpus * self.places

    def units(self, work: Need) -> int:
        """Places that a cell takes; one of several GPUs takes all places of each of them."""
        if work.devices > 1:
            return min(work.devices, self.gpus) * self.places
        if self.fixed:
            return 1
        shares = [1.0 if work.busy is None else work.busy]
        if self.memory is not None:
            shares.append((HELD_TWICE * work.held + PROCESS_BYTES) / (MEMORY_SHARE * self.memory))
        return max(1, min(self.places, math.ceil(max(shares) * self.places)))


class Places:
    """Which places are taken."""

    def __init__(self, gpus: Sequence[str], places: int) -> None:
        self._places = places
        self._free = dict.fromkeys(gpus, places)

    def take(self, units: int) -> list[str] | None:
        """The GPUs of a cell that takes so many places, the emptiest; ``None`` where none has the room."""
        count, each = (units // self._places, self._places) if units > self._places else (1, units)
        chosen = sorted(self._free, key=lambda gpu: -self._free[gpu])[:count]
        if any(self._free[gpu] < each for gpu in chosen):
            return None
        for gpu in chosen:
            self._free[gpu] -= each
        return chosen

    def give_back(self, gpus: Sequence[str], units: int) -> None:
        """Free what :meth:`take` gave."""
        for gpu in gpus:
            self._free[gpu] += units // len(gpus)
