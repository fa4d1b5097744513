"""A run on several devices: one process each, in a group of their own.

Lightning's launcher would run the command line again, and that of a sweep starts a sweep. Here the process
that owns the run starts the others itself, with the configuration in the run's directory.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment, find_free_network_port
from pytorch_lightning.strategies import DDPStrategy

from retrieval.run.directory import RunDirectory

Process = subprocess.Popen[bytes]

HOST = "127.0.0.1"

GRACE_SECONDS = 10.0
"""How long a process may go on after another one failed, to report the failure by itself."""

END_SECONDS = 60.0
"""The others must be gone this long after the training."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one run."""

    rank: int = 0
    """Of this process; 0 owns the run."""
    size: int = 1
    port: int = 0

    def plugins(self) -> list[Any]:
        """Lightning must not look for a batch system: inside one it would take over its signals."""
        return [_Environment(self)] if self.size == 1 else []

    def strategy(self, device: torch.device) -> DDPStrategy | str:
        """Lightning's strategy for this process."""
        if self.size == 1:
            return "auto"
        return DDPStrategy(
            cluster_environment=_Environment(self),
            process_group_backend="nccl" if device.type == "cuda" else "gloo",
            broadcast_buffers=False,  # position numbers, equal everywhere
        )


class _Environment(LightningEnvironment):
    def __init__(self, group: ProcessGroup) -> None:
        super().__init__()
        self._group = group
        self._main_port = group.port

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return HOST

    def local_rank(self) -> int:
        return self._group.rank

    def node_rank(self) -> int:
        return 0


@contextlib.contextmanager
def together(directory: RunDirectory, devices: int) -> Iterator[ProcessGroup]:
    """Run the body in the first of ``devices`` processes that train the run of ``directory``.

    The others read its ``config.yaml``. They end with the body, whatever ends it; when one of them fails
    and the body does not notice, this process marks the run failed and exits with status 1.
    """
    if devices == 1:
        yield ProcessGroup()
        return
    group = ProcessGroup(0, devices, find_free_network_port())
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // devices))
    others = [_start(directory.config, rank, group) for rank in range(1, devices)]
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(others, ended, directory), daemon=True, name="ranks")
    watch.start()
    try:
        yield group
        for process in others:
            process.wait(END_SECONDS)
    finally:
        ended.set()
        for process in others:
            process.kill()
            process.wait()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        torch.set_num_threads(threads)


def _start(config: Path, rank: int, group: ProcessGroup) -> Process:
    numbers = map(str, (rank, group.size, group.port))
    path = os.pathsep.join(part or str(Path.cwd()) for part in sys.path)
    return subprocess.Popen(
        [sys.executable, "-m", "retrieval.worker", str(config), *numbers],
        env={**os.environ, "PYTHONPATH": path},
    )


def _watch(others: Sequence[Process], ended: threading.Event, directory: RunDirectory) -> None:
    while not ended.wait(0.5):
        failed = [process.returncode for process in others if process.poll()]
        if not failed or ended.wait(GRACE_SECONDS):
            continue
        message = f"a process of {len(others) + 1} that train the run ended with exit status {failed[0]}"
        print(message, file=sys.stderr, flush=True)
        with contextlib.suppress(OSError):
            directory.fail({"type": "ProcessExit", "message": message, "traceback": ""})
        os._exit(1)  # the main thread waits for the lost process, inside the communication library
