"""The heap of the C library: held, trimmed, and moved into huge pages, by those who know what comes next."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""Options of glibc's ``mallopt``, from malloc.h."""

MMAP_THRESHOLD, TRIM_THRESHOLD, MMAP_MAX = 32 * 2**20, 64 * 2**20, 65_536
"""What glibc comes to by itself when large blocks are freed (mallopt(3)); once an option was set it no longer
adapts, and the values that it starts from would slow down all that follows."""


def heap_trimmer() -> Callable[[int], int] | None:
    """``malloc_trim`` of the C library, which gives unused heap back to the system; ``None`` without."""
    return _c_function("malloc_trim", ctypes.c_size_t)


def heap_holder() -> Callable[[bool], None] | None:
    """Tells the C library to keep freed blocks for the next ones, or no more to; ``None`` where it cannot.

    Otherwise glibc maps each block above 32 MB anew, and the system zeroes its pages every time.
    """
    option = _c_function("mallopt", ctypes.c_int, ctypes.c_int)
    if option is None:
        return None

    def hold(keep: bool) -> None:
        option(M_MMAP_THRESHOLD, MMAP_THRESHOLD)
        option(M_MMAP_MAX, 0 if keep else MMAP_MAX)
        option(M_TRIM_THRESHOLD, 2**31 - 1 if keep else TRIM_THRESHOLD)

    return hold


MADV_COLLAPSE = 25
"""Advice to madvise(2) since Linux 6.1, from mman.h."""

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")
"""Where Linux says whether memory may be in huge pages, and how large they are."""

PROCESS = Path("/proc/self")

LARGEST = 32 * 2**20
"""Bytes of a huge page where pages have 16 KiB. Where they have 64 it is 512 MiB, and seldom free."""

PRESENT = 7 / 8
"""Share of a piece's pages that are there already: moving it adds a seventh at most."""


class HugePages:
    """Moves memory into huge pages after some rounds of the same work, and again whenever they doubled.

    Where the system or its host maps memory in pages of 4 KiB, finding a page may take longer than reading it
    (docs/logbook/2026-11-28-huge-pages.md). Pages that are huge from the start would be zeroed whole for each
    block, which made bert-base slower; those of blocks that are used again and again are moved once. What was
    there before the work began stays as it is, because moving it takes longer than it saves. Results do not
    change.
    """

    def __init__(self, first: int) -> None:
        """``first``: rounds after which the memory of the work is there, a power of two."""
        self._mover = mover()
        self._before = self._moved = self._mover.pieces() if self._mover else set()
        self._first = first
        self._rounds = 0

    def round_done(self) -> None:
        """Count a round, and move the memory that has come where it is time to."""
        self._rounds += 1
        doubled = self._rounds & (self._rounds - 1) == 0
        if self._mover is not None and doubled and self._rounds >= self._first:
            found = self._mover.pieces()
            self._mover.move(found - self._moved)
            self._moved = found | self._before

    def again(self) -> None:
        """Begin to count anew, because memory was given back."""
        self._rounds = 0
        self._moved = self._before


class Mover:
    """Moves pieces of the private memory of this process into huge pages."""

    def __init__(self, advise: Callable[[int, int, int], int], size: int) -> None:
        """``advise``: madvise(2); ``size``: of a huge page, in bytes."""
        self._advise, self._size = advise, size

    def pieces(self) -> set[int]:
        """Addresses of the aligned pieces whose pages are nearly all there; none where /proc does not tell.

        What is mostly empty is left out, because a huge page is there as a whole.
        """
        try:
            return set(_mostly_present(self._size))
        except (OSError, ValueError):
            return set()  # training goes on without

    def move(self, pieces: Iterable[int]) -> None:
        """Move them one by one: a call for several ends at the first that cannot be moved.

        An older Linux refuses all of them.
        """
        for address in pieces:
            self._advise(address, self._size, MADV_COLLAPSE)


def mover() -> Mover | None:
    """``None`` where there are no huge pages, none up to :data:`LARGEST`, or where the owner wants none."""
    advise = _c_function("madvise", ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    try:
        allowed = "[never]" not in (HUGE_PAGES / "enabled").read_text()
        size = int((HUGE_PAGES / "hpage_pmd_size").read_text())
    except (OSError, ValueError):
        return None
    return Mover(advise, size) if advise is not None and allowed and size <= LARGEST else None


def private_memory() -> list[tuple[int, int]]:
    """First address of each writable mapping of no file, and the one after its last: the heap, and blocks."""
    found = []
    for line in (PROCESS / "maps").read_bytes().split(b"\n"):
        if not line:
            continue
        place, rights, _, _, node, *name = line.split(maxsplit=5)
        if rights == b"rw-p" and node == b"0" and name in ([], [b"[heap]"]):
            first, end = (int(address, 16) for address in place.split(b"-"))
            found.append((first, end))
    return found


def _mostly_present(size: int) -> Iterator[int]:
    """Addresses of aligned pieces of ``size`` bytes of private memory whose pages are nearly all there."""
    pages = size // mmap.PAGESIZE
    with (PROCESS / "pagemap").open("rb") as entries:
        for first, end in private_memory():
            first, end = -(-first // size) * size, end // size * size
            if end <= first:
                continue
            entries.seek(first // mmap.PAGESIZE * 8)
            found = np.frombuffer(entries.read((end - first) // mmap.PAGESIZE * 8), np.uint64)
            present = (found >> np.uint64(63)).reshape(-1, pages).mean(axis=1)
            yield from (first + size * int(piece) for piece in np.flatnonzero(present >= PRESENT))


def _c_function(name: str, *arguments: Any) -> Callable[..., int] | None:
    """A function of the C library that returns an int, or ``None`` where there is none of the name."""
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes, function.restype = arguments, ctypes.c_int
    return cast(Callable[..., int], function)
