"""What a disk that does not take a file looks like, through all the libraries that write one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.errors import ConfigError, ParetrieveError, StorageError

if TYPE_CHECKING:
    from omegaconf import DictConfig

NUMBERS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EIO,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)
"""Errors of the operating system that a person mends, not a programmer."""

RUST = re.compile(r"\(os error (\d+)\)")
"""How tokenizers and safetensors name the operating system's error."""

LONGEST_NAME = 300
"""Characters of a file's name that a message shows."""

SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
"""What NumPy says when an array does not fit; the number is lost."""


def storage_reason(error: BaseException) -> str | None:
    """Why the disk refused, if that is at the root of ``error``: the system's words and the file."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        reason = _reason(link)
        if reason is not None:
            return reason
        link = link.__cause__ or link.__context__
    return None


def place_reason(error: BaseException) -> str | None:
    """Why ``error`` itself says that nothing can be read or written where it was tried."""
    if isinstance(error, FileNotFoundError | IsADirectoryError) and error.filename:
        return f"{error.strerror}: {str(error.filename)[:LONGEST_NAME]}"
    return None


def writable_file(path: Path | None) -> Path | None:
    """``path``, a file to write once the work is done; nothing is left there.

    Raises:
        ConfigError: it cannot be written.
    """
    return _writable(path, is_file=True)


def writable_folder(path: Path | None) -> Path | None:
    """``path``, a folder to fill once the work is done; nothing is left there.

    Raises:
        ConfigError: nothing can be written there.
    """
    return _writable(path, is_file=False)


def _writable(path: Path | None, is_file: bool) -> Path | None:
    if path is None:
        return None
    name = str(path)[:LONGEST_NAME]
    try:
        if is_file and path.exists() and not path.is_file():
            raise ConfigError(f"cannot write {name}: it is no file; name another")
        folder = path.parent if is_file else path
        # What is missing of the folder can be made if the part that is there can be written to.
        there = next((place for place in (folder, *folder.parents) if place.exists()), folder)
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise ConfigError(
            f"cannot write {name}: {error.strerror}; name another place, or mend this one"
        ) from error
    return path


@contextlib.contextmanager
def storage_errors(config: DictConfig) -> Iterator[None]:
    """Turn a refusal of the disk into one line that names the two folders a run writes to.

    Raises:
        StorageError: the disk refused; the same command goes on once that is mended.
    """
    try:
        yield
    except ParetrieveError:
        raise
    except Exception as error:
        reason = storage_reason(error)
        if reason is None:
            raise
        raise StorageError(
            f"cannot write: {reason}; make room or choose other folders with runs={config.runs} and "
            f"cache={config.cache}, then give the same command again"
        ) from error


def _reason(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in NUMBERS:
        words = os.strerror(error.errno)
        return f"{words}: {str(error.filename)[:LONGEST_NAME]}" if error.filename else words
    rust = RUST.search(str(error))
    if rust and int(rust[1]) in NUMBERS:
        return os.strerror(int(rust[1]))
    if SHORT_WRITE.search(str(error)):
        return "a file was written in part only, as on a full disk"
    return None
