"""``benchmarks/history.csv``: ratios of commits on machines, one row a measure, added on request."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retrieval.errors import ConfigError
from retrieval.run.manifest import ROOT

HISTORY = ROOT / "benchmarks" / "history.csv"

COLUMNS = ("commit", "date", "processor", "isa", "cores", "measure", "ratio", "low", "high")
"""``date``: day in UTC; ``processor``: the GPU where one computes; ``low`` and ``high``: over the rounds."""


def clean_commit(root: Path = ROOT, history: Path = HISTORY) -> str:
    """The commit of the checkout at ``root``, whose files are those of the commit, but for ``history``.

    Raises:
        ConfigError: There is no git or no commit, or files were changed: the rows would name the wrong code.
    """
    commit = _git(root, "rev-parse", "HEAD").strip()
    lines = _git(root, "status", "--porcelain", "--untracked-files=no").splitlines()
    changed = [line[3:] for line in lines if (root / line[3:]).resolve() != history.resolve()]
    if changed:
        raise ConfigError(
            f"--append-history: {', '.join(changed)} changed since {commit[:7]}, and a row names a commit; "
            "commit first"
        )
    return commit


def append(
    rows: Iterable[Mapping[str, Any]], machine: Mapping[str, Any], commit: str, history: Path = HISTORY
) -> int:
    """Add the ratios of ``rows`` (:func:`benchmarks.contest.compete`) that are no reference's; how many.

    ``machine``: see :func:`benchmarks.machine.facts`.

    Raises:
        ConfigError: ``history`` has other columns.
    """
    with history.open(newline="", encoding="utf-8") as file:
        found = next(csv.reader(file), [])
    if tuple(found) != COLUMNS:
        raise ConfigError(
            f"{history}: columns are {','.join(found)}, not {','.join(COLUMNS)}; mend its first line"
        )
    facts = (
        commit,
        datetime.now(UTC).date().isoformat(),
        machine.get("gpu", machine["cpu"]),
        machine["isa"],
        machine["cores"],
    )
    new = [
        (*facts, _measure(row), *(f"{row[name]:.3f}" for name in ("ratio", "low", "high")))
        for row in rows
        if not row["reference"]
    ]
    with history.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(new)
    return len(new)


def _measure(row: Mapping[str, Any]) -> str:
    return f"{row['part']}: {row['work']}: {row['contestant']}"


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(f"--append-history: {root} is no git checkout with a commit; clone it") from error
