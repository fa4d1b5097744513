"""What this machine offers to a sweep, found without importing torch."""

import math
import os
import subprocess
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


def available_memory() -> int:
    """Bytes of main memory a sweep may fill: four fifths of what is free, within the control group."""
    free = psutil.virtual_memory().available
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        free = min(free, limit - used)
    except (OSError, ValueError):
        pass  # no control group, or one without a limit ("max")
    return int(0.8 * free)
