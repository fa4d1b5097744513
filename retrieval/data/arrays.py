"""Arrays on disk that are filled in place; segments of flat arrays, membership in sorted ones."""

import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

FloatArray: TypeAlias = NDArray[np.float32]

BYTES_AT_ONCE = 2**29
"""Encoded rows that are held together: 65,536 vectors of 2048 numbers, 8,000 passages of token vectors."""


def new_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A new ``.npy`` file of zeros, mapped for writing.

    Raises:
        OSError: the disk has no room for it. Without asking at once, a full disk ends the process by a
            signal (SIGBUS) when the array is filled.
    """
    array: np.memmap[Any, Any] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with path.open("r+b") as file:
        _reserve(file.fileno(), path.stat().st_size)
    return array


def scratch_array(folder: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A new array of zeros in a nameless file of ``folder``, which is gone with the array or the process.

    Raises:
        OSError: the disk has no room for it, or the folder does not exist.
    """
    with TemporaryFile(dir=folder) as file:
        array: np.memmap[Any, Any] = np.memmap(file, dtype=dtype, mode="w+", shape=shape)
        _reserve(file.fileno(), array.nbytes)
    return array


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)


def within(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Place of every element in its segment, from 0 to count − 1: int64[Σ counts]."""
    starts = np.cumsum(counts) - counts
    places: NDArray[np.int64] = np.arange(int(counts.sum())) - np.repeat(starts, counts)
    return places


def contained(keys: NDArray[np.int64], ascending: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of ``keys`` are in ``ascending`` (not empty): bool, of the shape of ``keys``."""
    places = np.searchsorted(ascending, keys)
    found: NDArray[np.bool_] = ascending[np.minimum(places, len(ascending) - 1)] == keys
    return found


def wider(rows: FloatArray, width: int) -> FloatArray:
    """``rows`` float32[n, k, …], their second dimension filled up with zeros where it is below ``width``."""
    missing = width - rows.shape[1]
    if missing <= 0:
        return rows
    return np.pad(rows, [(0, 0), (0, missing), *[(0, 0)] * (rows.ndim - 2)])
