"""Choices that depend on (name, text, seed) alone and are the same on every machine and in every version.

Python promises of ``random.Random`` that :meth:`random` gives the same numbers for the same seed for ever,
and of no other method. All draws here go through it.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


class Draws:
    """A stream of choices."""

    def __init__(self, name: str, text: str, seed: int) -> None:
        """The stream of what is called ``name``, for one text and seed."""
        key = hashlib.sha256(f"{name}\0{seed}\0{text}".encode("utf-8", "surrogatepass")).digest()
        self._random = random.Random(int.from_bytes(key[:16], "big"))

    def below(self, count: int) -> int:
        """A whole number from 0 to ``count − 1``, each with equal probability."""
        return int(self._random.random() * count)

    def one(self, items: Sequence[Item]) -> Item:
        """One of the items."""
        return items[self.below(len(items))]

    def order(self, count: int) -> list[int]:
        """The numbers from 0 to ``count − 1`` in a random order."""
        numbers = list(range(count))
        for last in range(count - 1, 0, -1):
            other = self.below(last + 1)
            numbers[last], numbers[other] = numbers[other], numbers[last]
        return numbers

    def some(self, count: int, wanted: int) -> list[int]:
        """``wanted`` different numbers below ``count``, ascending; all where there are no more."""
        return sorted(self.order(count)[:wanted])


def allowed(rate: float, count: int) -> int:
    """How many of ``count`` words a rate lets change: the nearest whole number, but one at least.

    None of none, and none at rate 0.
    """
    return min(count, max(1, round(rate * count))) if rate > 0 else 0
