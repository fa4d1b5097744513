"""Installed packages as sources of text: where they are, which version, and their extracted pairs.

Packages are found through their import specification and their metadata; none is imported.
"""

import gc
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import sysconfig
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from tqdm import tqdm

from retrieval.data.cache import build_once, digest, is_complete
from retrieval.data.sources.extraction import Pair, extract
from retrieval.data.sources.reference import extract_topics
from retrieval.errors import ConfigError
from retrieval.run.resources import available_cores

VERSION = 4
STANDARD_LIBRARY = "stdlib"
LANGUAGE_REFERENCE = "pydoc_data.topics"

_SKIPPED_FOLDERS = frozenset(
    [
        *("tests", "test", "testsuite", "__pycache__", "node_modules"),
        # Copies of other packages.
        *("_vendor", "_vendored", "vendor", "vendored", "third_party", "externals", "extern"),
        # Parts of the standard library that not every system or version of Python has.
        *("site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo", "ensurepip", "distutils"),
        # Binary modules, and the text that is a domain of its own.
        *("lib-dynload", "pydoc_data"),
    ]
)
# The modular_*.py of transformers are the templates of its modeling_*.py, which hold the same text.
_SKIPPED_FILES = ("test_", "conftest.py", "setup.py", "_sysconfigdata", "modular_")
# Distributions whose name is not the name that is imported; others are found by a slower search.
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "lightning_fabric": "pytorch-lightning"}
_BATCH_BYTES = 400_000
# Starting worker processes costs about as much as reading this many bytes.
_ALONE_BYTES = 2_000_000
# Beyond this many, starting workers takes longer than the reading they share.
_MAX_WORKERS = 16

File = tuple[str, str]
"""Path and dotted module name."""


@dataclass(frozen=True)
class Package:
    """An installed package, or one of the two parts of Python itself."""

    name: str
    version: str
    roots: tuple[Path, ...]


def find(name: str, key: str) -> Package:
    """Find a package by the name under which it is imported, without importing it.

    ``name``: top-level package, ``stdlib``, or ``pydoc_data.topics``; ``key``: of the configuration.

    Raises:
        ConfigError: it is not installed here.
    """
    if name in (STANDARD_LIBRARY, LANGUAGE_REFERENCE):
        library = Path(sysconfig.get_path("stdlib"))
        root = library if name == STANDARD_LIBRARY else library / "pydoc_data" / "topics.py"
        if not root.exists():
            raise ConfigError(f"{key} names {name!r}, but this Python has no {root}; leave the domain out")
        return Package(name, platform.python_version(), (root,))
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not (spec.submodule_search_locations or spec.has_location):
        raise ConfigError(
            f"{key} names the package {name!r}, which is not installed; install it or leave it out"
        )
    roots = tuple(Path(folder) for folder in spec.submodule_search_locations or [str(spec.origin)])
    return Package(name, _version(name, roots), roots)


def _version(name: str, roots: Iterable[Path]) -> str:
    """Version of a package; where it has no metadata, a hash of names and sizes of its files."""
    try:
        return importlib.metadata.version(_DISTRIBUTIONS.get(name, name))
    except importlib.metadata.PackageNotFoundError:
        distributions = _packages_distributions().get(name)
        if distributions:
            return importlib.metadata.version(distributions[0])
    return digest([[module, Path(path).stat().st_size] for path, module in _files(name, roots)])


_packages_distributions = cache(importlib.metadata.packages_distributions)


def _files(name: str, roots: Iterable[Path]) -> list[File]:
    """Source files of a package without its tests and the copies of other packages in it."""
    prefix = [] if name == STANDARD_LIBRARY else name.split(".")
    files: list[File] = []
    for root in roots:
        if root.is_file():
            files.append((str(root), name))
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(item for item in folders if _is_source_folder(folder, item))
            parts = prefix + list(Path(folder).relative_to(root).parts)
            for file in sorted(names):
                if file.endswith(".py") and not file.startswith(_SKIPPED_FILES):
                    tail = [] if file == "__init__.py" else [file[:-3]]
                    files.append((str(Path(folder) / file), ".".join(parts + tail)))
    return files


def _is_source_folder(parent: str, name: str) -> bool:
    if name in _SKIPPED_FOLDERS or not name.isidentifier():
        return False
    return not (name == "_internal" and Path(parent).name == "testing")


def read(packages: Iterable[Package], cache_folder: Path) -> dict[str, tuple[list[Pair], Counter[str]]]:
    """Pairs of each package and what was dropped, extracted once per package and version.

    Files are read by as many processes as this one may use cores, behind one progress line.
    """
    folders = {package: _folder(package, cache_folder) for package in packages}
    missing = {
        package: _files(package.name, package.roots)
        for package, folder in folders.items()
        if not is_complete(folder)
    }
    total = sum(map(len, missing.values()))
    size = sum(Path(path).stat().st_size for files in missing.values() for path, _ in files)
    with ExitStack() as stack:
        # Daemonic processes may not start processes of their own.
        alone = size <= _ALONE_BYTES or multiprocessing.current_process().daemon
        pool = None if alone else stack.enter_context(_pool())
        bar = stack.enter_context(
            tqdm(total=total, unit="file", delay=2, leave=False, desc="reading documentation")
        )
        for package, files in missing.items():
            build_once(
                folders[package],
                partial(_write, package, files, pool, bar),
                describe=f"documentation of {package.name} {package.version}",
            )
    return {package.name: _load(folder) for package, folder in folders.items()}


def _folder(package: Package, cache_folder: Path) -> Path:
    key = digest({"extractor": VERSION, "package": package.name, "version": package.version})
    return cache_folder / "sources" / "pydocs" / "packages" / f"{package.name}-{key[:16]}"


def _load(folder: Path) -> tuple[list[Pair], Counter[str]]:
    with (folder / "pairs.jsonl").open(encoding="utf-8") as file:
        pairs = [Pair(*json.loads(line)) for line in file]
    return pairs, Counter(json.loads((folder / "dropped.json").read_text(encoding="utf-8")))


def _pool() -> ProcessPoolExecutor:
    # Spawned, because a fork of a process with running threads (torch, loggers) can hang, and
    # because the fork server belongs to the launcher of sweeps.
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(
        min(available_cores(), _MAX_WORKERS), mp_context=spawn, initializer=_start_worker
    )


def _start_worker() -> None:
    # Syntax trees have no cycles, so a worker saves a fifth of its time without the collector.
    gc.disable()
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """A worker of a killed process would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write(
    package: Package, files: list[File], pool: ProcessPoolExecutor | None, bar: tqdm, target: Path
) -> None:
    dropped: Counter[str] = Counter(files=len(files))
    with (target / "pairs.jsonl").open("w", encoding="utf-8", newline="\n") as out:
        for pairs, reasons, count in _extracted(package, files, pool):
            for pair in pairs:
                out.write(json.dumps(pair) + "\n")
            dropped.update(reasons)
            bar.update(count)
    (target / "dropped.json").write_text(json.dumps(dropped), encoding="utf-8")


def _extracted(
    package: Package, files: list[File], pool: ProcessPoolExecutor | None
) -> Iterator[tuple[list[Pair], Counter[str], int]]:
    if package.name == LANGUAGE_REFERENCE:
        yield *extract_topics(Path(files[0][0]).read_bytes()), 1
        return
    batches = list(_batches(files))
    done = 0
    if pool is not None:
        try:
            for result in pool.map(extract_files, batches):
                yield result
                done += 1
        except BrokenProcessPool:
            # A main module that cannot be imported again breaks every pool; reading alone always works.
            pass
    yield from map(extract_files, batches[done:])


def _batches(files: list[File]) -> Iterator[list[File]]:
    batch: list[File] = []
    size = 0
    for file in files:
        batch.append(file)
        size += Path(file[0]).stat().st_size
        if size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def extract_files(files: list[File]) -> tuple[list[Pair], Counter[str], int]:
    """Pairs of some source files, the reasons of what was dropped, and the number of files."""
    pairs: list[Pair] = []
    dropped: Counter[str] = Counter()
    for path, module in files:
        try:
            content = Path(path).read_bytes()
        except OSError:
            dropped["unreadable_file"] += 1
            continue
        found, reasons = extract(content, module)
        pairs += found
        dropped.update(reasons)
    return pairs, dropped, len(files)
