"""Cells as tasks of a Ray cluster."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from retrieval.errors import ConfigError
from sweeps.launch.cells import Cell, SweepRecord
from sweeps.launch.chunks import Chunk, ChunkRunner
from sweeps.launch.display import Display
from sweeps.launch.submission import (
    cut,
    make_importable,
    submitted,
    take_back,
    until_interrupted,
    watch,
)
from sweeps.launch.sweep import Options

CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class RayOptions:
    """Where Ray runs and what a task asks for; ``conf/hydra/launcher/ray.yaml`` documents each."""

    address: str | None = "auto"
    num_cpus: float = 1
    num_gpus: float = 0
    chunk: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of every cell."""


class RayTask:
    """A task of Ray, as :func:`sweeps.launch.submission.watch` sees it."""

    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self._reference = ray, reference
        self._cancelled = False

    def ended(self) -> bool:
        """Whether its result, or its error, is there."""
        return bool(self._ray.wait([self._reference], timeout=0)[0])

    def reason(self) -> str:
        """Its error."""
        try:
            return f"the task ended with status {self._ray.get(self._reference, timeout=10)} without it"
        except Exception as error:  # Ray wraps whatever happened in types of its own
            return f"the task ended: {(str(error).strip().splitlines() or [type(error).__name__])[-1]}"

    def cancel(self) -> None:
        """Interrupt it as Ctrl-C would; a second time, end its process, and its cells with it."""
        self._ray.cancel(self._reference, force=self._cancelled)
        self._cancelled = True


def run_on_ray(
    waiting: Sequence[Cell], record: SweepRecord, cells: Sequence[Cell], options: Options, given: RayOptions
) -> bool:
    """Run ``waiting`` as tasks of Ray, each once; whether it was interrupted.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    ray = _connect(given)
    threads = options.threads or max(1, int(given.num_cpus))
    runner = ChunkRunner(replace(options, slots=1, threads=threads), given.environment)
    # Ray would start a task that died again, and again what killed it.
    remote = ray.remote(num_cpus=given.num_cpus, num_gpus=given.num_gpus, max_retries=0)(_run)
    tasks = []
    for number, part in enumerate(cut(waiting, max(1, given.chunk))):
        reference = remote.remote(runner, Chunk.of(part, record.path.parent, number))
        tasks.append(submitted(RayTask(ray, reference), part))
    display = Display()
    display.say(f"{len(waiting)} cells in {len(tasks)} Ray tasks of {given.num_cpus:g} CPUs")
    try:
        return until_interrupted(
            lambda: watch(tasks, cells, record, display), lambda: take_back(tasks, display)
        )
    finally:
        ray.shutdown()


def _run(runner: ChunkRunner, chunk: Chunk) -> int:
    os.environ.pop("OMP_NUM_THREADS", None)  # Ray's guess; the cells are given theirs
    return runner(chunk)


def _connect(given: RayOptions) -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f"hydra/launcher=ray needs Ray ({error}); install with: pip install 'paretrieve[ray]'"
        ) from error
    _check_address(given.address)
    make_importable()
    environment = {"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray.init(address=given.address, runtime_env=environment, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_cluster(given.address, error) from error
    return ray


def _check_address(address: str | None) -> None:
    """Refuse a host that does not answer: Ray would go on asking it for minutes."""
    match = re.fullmatch(r"(?:ray://)?\[?([^\]/]+)\]?:(\d+)", address or "")
    if match is None:
        return
    try:
        socket.create_connection((match[1], int(match[2])), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str | None, error: Exception) -> ConfigError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ConfigError(
        f"hydra.launcher.address={address}: no Ray cluster there ({reason}); start one with "
        "`ray start --head`, or set hydra.launcher.address=local"
    )
