"""What a ratio depends on beside the code: the processor, what libraries use of it, and how fast that is."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.utilisation import product
from retrieval.models.scorer import DTYPES
from retrieval.run.hardware import choose_precision
from retrieval.run.manifest import cpu_model
from retrieval.run.processor import matrix_set
from retrieval.run.resources import available_cores

COPY_BYTES = 256 * 2**20
"""Beyond most last caches; where the cache is larger, what is measured is partly the cache."""

COPY_SECONDS = 0.5

PRODUCT = {"32": 1024, "bf16": 2048}
"""Size of the square products by precision: six of them take a tenth of a second on two cores."""

CHANNELS = 128
"""Of the convolution whose kernel is asked for."""


def automatic(device: str) -> str:
    """What ``train.precision=auto`` is on a device of this machine, measured where it never was."""
    return choose_precision("auto", torch.device(device), Path(".cache"))


def facts(threads: int, device: str = "cpu") -> dict[str, Any]:
    """Facts of this machine and how fast it copies and multiplies, measured in about a second.

    Run it in a process whose contestants are others (:func:`benchmarks.contest.alone`): it computes.

    Returns: ``cpu``, ``isa`` (the fastest instruction set for matrix products that oneDNN may use), ``aten``
    (what PyTorch's own kernels use), ``kernel`` (the one that oneDNN took), ``cores``, ``threads``,
    ``precision`` (what ``train.precision=auto`` is here), ``gemm_flops`` (FLOP/s of square products in it),
    ``copy_bytes`` (bytes/s read and written), ``torch``, ``platform``, and ``gpu`` where it computes.
    """
    precision = automatic(device)
    torch.set_num_threads(threads)
    found: dict[str, Any] = {
        "cpu": cpu_model(),
        "isa": matrix_set(),
        "aten": torch.backends.cpu.get_cpu_capability().lower(),
        "kernel": kernel(automatic("cpu")),
        "cores": available_cores(),
        "threads": threads,
        "precision": precision,
        "gemm_flops": product(threads, device, precision, PRODUCT[precision] if device == "cpu" else None),
        "copy_bytes": copied_bytes(),
        "torch": torch.__version__,
        "platform": platform.platform(),
    }
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    return found


def line(found: dict[str, Any]) -> str:
    """The facts as one line of prose."""
    kernel_name = f" ({found['kernel']})" if found["kernel"] else ""
    said = [
        found["cpu"],
        f"{found['isa'] or 'no known ISA'}{kernel_name}, ATen {found['aten']}",
        f"{found['cores']} cores, {found['threads']} threads",
        f"{found['gemm_flops'] / 1e9:,.0f} GFLOP/s in {found['precision']}",
        f"copies {found['copy_bytes'] / 1e9:.1f} GB/s",
        f"PyTorch {found['torch']}",
        found["platform"],
    ]
    return ", ".join([found["gpu"], *said] if "gpu" in found else said)


def copied_bytes() -> float:
    """Bytes that a copy reads and writes a second: the best of the copies that fit :data:`COPY_SECONDS`."""
    source = torch.ones(COPY_BYTES, dtype=torch.uint8)
    target = torch.zeros_like(source)  # its pages exist before the clock starts
    taken: list[float] = []
    while not taken or sum(taken) < COPY_SECONDS:
        start = time.perf_counter()
        target.copy_(source)
        taken.append(time.perf_counter() - start)
    return 2 * COPY_BYTES / min(taken)


def kernel(precision: str) -> str:
    """The kernel that oneDNN takes for a 1 × 1 convolution, as it calls it; ``""`` where it takes none."""
    images = torch.ones(64, CHANNELS, 1, 64, dtype=DTYPES[precision])
    weights = torch.ones(CHANNELS, CHANNELS, 1, 1, dtype=DTYPES[precision])
    said = _printed_by_onednn(lambda: torch.nn.functional.conv2d(images, weights))
    fields = [words.split(",") for words in said.splitlines() if ",convolution," in words]
    return next((words[words.index("convolution") + 1] for words in fields), "")


def _printed_by_onednn(compute: Any) -> str:
    """oneDNN's own record of what it does; it goes to the process's standard output, past Python."""
    flush = ctypes.CDLL(None).fflush
    with tempfile.TemporaryFile() as file:
        sys.stdout.flush()
        flush(None)
        kept = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                compute()
        finally:
            flush(None)
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        return file.read().decode()
