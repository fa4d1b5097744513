"""The table of a study's runs: what each measured, and which code and machine it came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from retrieval.run.files import read_json
from sweeps.report.provenance import STATED
from sweeps.table.runs import Collected, collect_runs


def collect_study(runs: Path) -> Collected:
    """The finished runs of a folder, each with its provenance; the others by name and reason.

    Raises TableError: the folder does not exist.
    """
    collected = collect_runs(runs)
    rows = [provenance(read_json(runs / str(name) / "manifest.json") or {}) for name in _names(collected)]
    known = pd.DataFrame(rows, index=collected.frame.index) if rows else pd.DataFrame()
    return Collected(pd.concat([collected.frame, known], axis=1), collected.skipped)


def _names(collected: Collected) -> list[str]:
    return [] if collected.frame.empty else [str(name) for name in collected.frame["run"]]


def provenance(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Commit, uncommitted changes, PyTorch, processor, device and precision, as columns of a table."""
    git, versions = manifest.get("git") or {}, manifest.get("versions") or {}
    found = {
        "commit": git.get("commit"),
        "dirty": git.get("dirty"),
        "torch": versions.get("torch"),
        "cpu": (manifest.get("cpu") or {}).get("model"),
        "device": manifest.get("device"),
        "precision": manifest.get("precision"),
        "lock": (manifest.get("lock") or "")[:16] or None,
    }
    return {f"{STATED}{key}": value for key, value in found.items()}


def manifest(row: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a manifest that a table states in a row: what :func:`provenance` reads."""
    stated = {key.removeprefix(STATED): value for key, value in row.items() if key.startswith(STATED)}
    return {
        "git": {"commit": stated.get("commit"), "dirty": stated.get("dirty")},
        "versions": {"torch": stated.get("torch")},
        "cpu": {"model": stated.get("cpu")},
        "device": stated.get("device"),
        "precision": stated.get("precision"),
        "lock": stated.get("lock"),
    }
