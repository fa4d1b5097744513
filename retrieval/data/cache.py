"""Builds that happen once, whoever asks first, and stay valid at any kill.

A build writes into a temporary sibling of its final folder, ends with a marker that lists the
files and their sizes, and is renamed into place while a file lock is held. A reader therefore
sees either nothing or a finished build, and the operating system frees the lock of a builder
that was killed.
"""

import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

MARKER = "complete.json"
_TEMPORARY = ".tmp-"


def digest(value: Any) -> str:
    """SHA-256 (64 hexadecimal digits) of a JSON-able value, independent of the order of keys.

    Raises:
        TypeError, ValueError: the value has no JSON form (NaN and infinities have none).
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def is_complete(folder: Path) -> bool:
    """Whether a build finished in ``folder`` and its files still have the sizes they had then."""
    try:
        files = json.loads((folder / MARKER).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def build_once(folder: Path, build: Callable[[Path], None], *, describe: str) -> Path:
    """``folder``, built by the first caller and only read by all others.

    The name of ``folder`` must identify the content (:func:`digest` of all inputs). ``build`` writes it into
    the empty folder it is given; whatever it raises reaches the caller and leaves nothing behind.
    ``describe``: what is built, in words, for the message of a process that waits.
    """
    if is_complete(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = _acquire(folder, describe)
    try:
        if not is_complete(folder):
            _remove_leftovers(folder)
            _build(folder, build, describe)
    finally:
        lock.release()
    return folder


def _acquire(folder: Path, describe: str) -> FileLock:
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        print(f"waiting for another process: {describe}", file=sys.stderr, flush=True)
        lock.acquire()
    return lock


def _remove_leftovers(folder: Path) -> None:
    """Delete what killed or damaged builds left, here and beside; the lock of ``folder`` is held."""
    if folder.exists():
        shutil.rmtree(folder)
    for temporary in folder.parent.glob(f"*{_TEMPORARY}*/"):
        owner = temporary.name.split(_TEMPORARY)[0]
        # A temporary folder whose lock is free has lost its builder.
        lock = FileLock(folder.with_name(f"{owner}.lock"), timeout=0)
        if owner == folder.name:
            shutil.rmtree(temporary)
        else:
            with suppress(Timeout), lock:
                shutil.rmtree(temporary, ignore_errors=True)


def _build(folder: Path, build: Callable[[Path], None], describe: str) -> None:
    temporary = folder.with_name(f"{folder.name}{_TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        build(temporary)
        files = {
            path.relative_to(temporary).as_posix(): path.stat().st_size
            for path in sorted(temporary.rglob("*"))
            if path.is_file()
        }
        marker = json.dumps({"describe": describe, "files": files}, indent=1)
        (temporary / MARKER).write_text(marker, encoding="utf-8")
        temporary.replace(folder)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)
