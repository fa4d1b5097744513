"""What this machine offers to a sweep, found without importing torch."""

import contextlib
import math
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil


def available_cores() -> int:
    """CPU cores this process may use: affinity and, in a container, the control group's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(Path("/sys/fs/cgroup/cpu.max"))
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(path: Path) -> float | None:
    """Cores granted by a version-2 control group's ``cpu.max`` ("<quota> <period>"); ``None`` = no limit."""
    try:
        quota, period = path.read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def available_gpus() -> list[str]:
    """Values for ``CUDA_VISIBLE_DEVICES``, one per NVIDIA GPU this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device.strip() for device in visible.split(",") if device.strip() not in ("", "-1")]
    if not Path("/proc/driver/nvidia").exists():
        return []
    return _nvidia("index")


def gpu_model() -> str:
    """Names of this machine's NVIDIA GPUs, each once; empty where the driver does not tell them."""
    return ", ".join(dict.fromkeys(_nvidia("name")))


def _nvidia(field: str) -> list[str]:
    try:
        listing = subprocess.run(
            ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in listing.splitlines() if line.strip()]


def available_memory(own: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of main memory a sweep may fill: four fifths of what is free, within the control groups.

    ``own``: the file that names this process's control groups; ``mounted``: the folder they are below.
    """
    free = psutil.virtual_memory().available
    for limit, used in _memory_files(own, mounted):
        with contextlib.suppress(OSError, ValueError):  # no such group, or one without a limit ("max")
            left = int(limit.read_text(encoding="ascii")) - int(used.read_text(encoding="ascii"))
            free = min(free, left)
    return int(0.8 * free)


def _memory_files(own: Path, mounted: Path) -> Iterator[tuple[Path, Path]]:
    """Limit and use of memory of each control group that holds this process, up to the outermost.

    A batch system limits the job and its step; in a container the outermost is the container's own.
    """
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if not controllers:  # version 2
            base, names = mounted, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            base, names = mounted / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        group = base / path.lstrip("/")
        for folder in (group, *group.parents[: len(group.parts) - len(base.parts)]):
            yield folder / names[0], folder / names[1]
