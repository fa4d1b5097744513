"""The table of runs: one row a run, from run directories, from a file or from W&B."""

import os
from pathlib import Path

from sweeps.diagnostics import TableError

READERS = 8
"""Threads that read run directories: they hide the latency of a shared file system."""


def run_names(folder: Path) -> list[str]:
    """The names of the folders in a runs folder, sorted; raise TableError where it does not exist."""
    if not folder.is_dir():
        raise TableError(
            f"runs folder {folder} does not exist; run `python train.py …` first, or give --runs"
        )
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
