"""Where a run's numbers come from: code, versions and machine, as written to ``manifest.json``."""

import hashlib
import os
import platform
import re
import socket
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from retrieval.run.resources import available_cores

PACKAGES = (
    "paretrieve",
    "torch",
    "pytorch-lightning",
    "transformers",
    "sentence-transformers",
    "tokenizers",
    "hydra-core",
    "omegaconf",
    "numpy",
    "scipy",
    "bm25s",
    "beir",
    "ir-measures",
    "wandb",
)
"""Distributions whose version can change a number."""

CODE = ("git", "versions", "lock")
"""Entries of a manifest that say which code made the numbers."""

MOST_DIFFERENCE = 2**20
"""Bytes of uncommitted changes that are kept; beyond, the hash alone says that there were some."""

SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
"""Names of environment variables whose values belong in no file."""

ROOT = Path(__file__).resolve().parents[2]
"""The source checkout, or ``site-packages`` of an installed copy (which has no ``.git``)."""


def manifest(**extra: Any) -> dict[str, Any]:
    """Provenance of the present process; ``extra``: device, precision, fingerprints, counts, hash."""
    return {
        "git": git_state(ROOT),
        "versions": versions(),
        "lock": lock_hash(ROOT),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpu": {"model": cpu_model(), "cores": available_cores()},
        **extra,
    }


def versions() -> dict[str, str]:
    """Installed versions of :data:`PACKAGES`, without those that are not installed."""
    installed = {name: next(iter(metadata.distributions(name=name)), None) for name in PACKAGES}
    return {name: found.version for name, found in installed.items() if found is not None}


def git_state(root: Path) -> Mapping[str, Any] | None:
    """Commit and dirty flag of the checkout at ``root``; ``None`` where there is none or no git."""
    if not (root / ".git").exists():
        return None
    commit, changes = _git(root, "rev-parse", "HEAD"), _changes(root)
    if commit is None or changes is None:
        return None
    hashed = hashlib.sha256(changes.encode()).hexdigest() if changes else None
    return {"commit": commit, "dirty": bool(changes), "diff_sha256": hashed}


def uncommitted(root: Path = ROOT) -> str | None:
    """Changes of tracked files since the commit, as a patch without secrets; ``None`` if there are none."""
    changes = _changes(root) if (root / ".git").exists() else None
    if not changes or len(changes) > MOST_DIFFERENCE:
        return None
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value) >= 8:
            changes = changes.replace(value, f"<{name}>")
    return changes + "\n"


def with_earlier(made: dict[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """``made`` with what an earlier attempt's manifest said of its code, where that was another one."""
    if before is None:
        return made
    earlier = list(before.get("earlier", []))
    if any(before.get(key) != made[key] for key in CODE):
        earlier.append({key: before.get(key) for key in CODE})
    return {**made, "earlier": earlier} if earlier else made


def lock_hash(root: Path) -> str | None:
    """SHA-256 of ``constraints.txt``, the exact versions the project was tested with."""
    lock = root / "constraints.txt"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None


def cpu_model() -> str:
    """The processor's name as the operating system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _changes(root: Path) -> str | None:
    return _git(root, "diff", "HEAD", "--no-ext-diff", "--no-color")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
