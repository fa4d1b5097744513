"""Files of a BEIR folder that are packed with gzip: read under their plain names, unpacked into the cache."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from retrieval.data.cache import build_once
from retrieval.errors import DataError
from retrieval.run.files import file_hash

SUFFIX = ".gz"


def plain_name(path: Path) -> str:
    """Name of a file without what says that it is packed."""
    return path.name.removesuffix(SUFFIX)


def find(folder: Path, name: str) -> Path:
    """The file ``name`` of a folder; the packed one where there is no other."""
    plain, packed = folder / name, folder / f"{name}{SUFFIX}"
    return packed if packed.is_file() and not plain.is_file() else plain


def content_hash(path: Path) -> str:
    """SHA-256 of the content of a file, unpacked.

    Raises:
        DataError: it is packed, and damaged.
    """
    if path.suffix != SUFFIX:
        return file_hash(path)
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpacked(folder: Path, files: Mapping[str, Path], cache: Path, fingerprint: str) -> Path:
    """The folder itself, or one in the cache with its ``files`` unpacked, by their names in a folder.

    Raises:
        DataError: a packed file is damaged.
    """
    if not any(path.suffix == SUFFIX for path in files.values()):
        return folder

    def build(target: Path) -> None:
        for name, path in files.items():
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix != SUFFIX:
                shutil.copyfile(path, place)
                continue
            with _opened(path) as packed, place.open("wb") as file:
                shutil.copyfileobj(packed, file)

    return build_once(cache / "unpacked" / fingerprint[:32], build, describe=f"unpacking {folder}")


@contextmanager
def _opened(path: Path) -> Iterator[gzip.GzipFile]:
    try:
        with gzip.open(path, "rb") as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked ({error}); download or pack it again") from error
