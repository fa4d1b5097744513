"""What a machine, a container and a job of a batch system leave to a sweep."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from retrieval.run import resources
from retrieval.run.resources import available_memory

GIB = 2**30

STEP = "system.slice/slurmstepd.scope/job_7/step_0/user/task_0"
OLD_STEP = "slurm/uid_1000/job_7/step_0"


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources.psutil, "virtual_memory", lambda: SimpleNamespace(available=100 * GIB))


def group(
    folder: Path, limit: int | str, used: int, names: tuple[str, str] = ("memory.max", "memory.current")
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({}, 100),
        ({"": ("max", 0)}, 100),
        ({"": (40 * GIB, 10 * GIB)}, 30),  # in a container
        ({STEP: ("max", GIB), "system.slice/slurmstepd.scope/job_7": (16 * GIB, GIB)}, 15),
        ({STEP: (12 * GIB, GIB), "system.slice/slurmstepd.scope/job_7": (16 * GIB, 6 * GIB)}, 10),
        ({"system.slice/slurmstepd.scope/job_8": (GIB, 0)}, 100),  # another's
    ],
)
def test_the_narrowest_group_that_holds_this_process_counts(
    tmp_path: Path, limits: dict[str, tuple[int | str, int]], left: int
) -> None:
    for path, (limit, used) in limits.items():
        group(tmp_path / "mounted" / path, limit, used)
    own = tmp_path / "own"
    own.write_text(f"0::/{STEP}\n")
    assert available_memory(own, tmp_path / "mounted") == int(0.8 * left * GIB)


def test_groups_of_version_1(tmp_path: Path) -> None:
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    mounted = tmp_path / "mounted"
    group(mounted / "memory" / OLD_STEP, 2**63 - 4096, GIB, names)
    group(mounted / "memory" / "slurm/uid_1000/job_7", 8 * GIB, GIB, names)
    own = tmp_path / "own"
    own.write_text(f"12:cpuset:/{OLD_STEP}\n9:memory:/{OLD_STEP}\n0::/\n")
    assert available_memory(own, mounted) == int(0.8 * 7 * GIB)


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert available_memory(tmp_path / "no", tmp_path) == int(0.8 * 100 * GIB)
    (tmp_path / "own").write_text("0::/../../outside\nnonsense\n")
    assert available_memory(tmp_path / "own", tmp_path / "mounted") == int(0.8 * 100 * GIB)
