"""One clean operating-system process per cell, forked from a server with the heavy imports done."""

import contextlib
import ctypes
import math
import multiprocessing
import multiprocessing.process
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import connection, forkserver
from pathlib import Path
from pkgutil import resolve_name
from types import FrameType
from typing import Any, Literal, cast

from omegaconf import DictConfig

from retrieval.run.directory import RunBusyError
from retrieval.run.storage import storage_reason
from sweeps.launch.preload import VARIABLE

ORPHAN_SECONDS = 5.0
"""How long a cell whose sweep died may use to write its checkpoint."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
PR_SET_PDEATHSIG = 1

ECHO_SECONDS = 1.0
"""A termination signal so soon after another is the same one: make passes it on, batch systems signal all."""


@dataclass(frozen=True)
class Job:
    """What a process is told."""

    worker: str
    """A function of one configuration, as ``module:name``."""
    config: DictConfig
    threads: int
    log: Path | None = None
    """File for standard output and error; ``None`` = the terminal."""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """How a job ended, in its own words."""

    kind: Literal["done", "failed", "stopped", "busy"]
    result: Any = None
    error: dict[str, str] | None = None


class Child:
    """A started job, seen from the sweep."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("forkserver")
        self.messages, send = context.Pipe(duplex=False)
        self.process = context.Process(target=run_job, args=(send, job), name="cell")
        self.process.start()
        send.close()
        self.message: Message | None = None
        self.told_at: float | None = None
        self._listening = True
        self._patience: float | None = None
        """Seconds after which :meth:`wait` gave it up."""

    @property
    def waitables(self) -> list[Any]:
        """Objects for :func:`multiprocessing.connection.wait` that become ready when something happens."""
        return [self.process.sentinel, *([self.messages] if self._listening else [])]

    def ended(self) -> bool:
        """Read what the job has to say; whether its process is gone."""
        gone = bool(connection.wait([self.process.sentinel], 0))  # before reading: the last word counts
        if self._listening and self.messages.poll():
            try:
                self.message = self.messages.recv()
                self.told_at = time.monotonic()
            except Exception:  # killed in the middle of its message: unreadable, so it said nothing
                self.message = None
            self._listening = False
            self.messages.close()
        return gone

    def wait(self, seconds: float = math.inf) -> None:
        """Wait until it has ended, and kill it after ``seconds``, or when anything is raised meanwhile."""
        deadline = time.monotonic() + seconds
        try:
            while not self.ended() and time.monotonic() < deadline:
                connection.wait(self.waitables, 1.0)  # Ray interrupts no system call
        except BaseException:
            self.kill()
            raise
        if not self.ended():
            self._patience = seconds
            self.kill()

    def stop(self) -> None:
        """Ask the job to write its checkpoint and end."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(cast(int, self.process.pid), signal.SIGTERM)

    def kill(self) -> None:
        """End the job and all processes it started, now."""
        pid = cast(int, self.process.pid)
        for end in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                end(pid, signal.SIGKILL)

    def reason(self) -> dict[str, str]:
        """The error of a job that ended without a message of success."""
        self.process.join()
        if self.message is not None and self.message.error is not None:
            return self.message.error
        if self._patience is not None:
            return {"type": "ProcessKilled", "message": f"not done after {self._patience:g} seconds"}
        code = self.process.exitcode or 0
        if code >= 0:
            return {"type": "ProcessExit", "message": f"ended early with exit status {code}"}
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            hint = "; out of memory?" if name == "SIGKILL" else ""
            return {"type": "ProcessKilled", "message": f"killed by {name}{hint}"}
        return {"type": "ProcessKilled", "message": f"killed by signal {-code}"}


def start_server(modules: Sequence[str]) -> None:
    """Start the fork server and let it import ``modules`` in the background; returns at once."""
    forkserver.set_forkserver_preload(["sweeps.launch.preload"])
    environment = {
        VARIABLE: ",".join(modules),
        # An OpenMP pool of more than one thread that some import starts would hang the forked cells.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        # Asking CUDA how many devices there are would initialise it, and it does not survive a fork.
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        # The server's interpreter does not get this one's module path otherwise.
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
    }
    with _environment(environment), interrupts_ignored():
        forkserver.ensure_running()


def run_job(send: connection.Connection, job: Job) -> None:
    """Body of a job's process."""
    _follow_parent()
    try:
        _set_up(job)
        message = Message("done", result=resolve_name(job.worker)(job.config))
    except RunBusyError as error:
        print(error, file=sys.stderr)
        message = Message("busy", error=describe(error))
    except (SystemExit, KeyboardInterrupt) as error:
        message = Message("stopped", error=describe(error))
    except BaseException as error:
        if job.log is not None and storage_reason(error) is None:  # a terminal gets the sweep's one line
            traceback.print_exc()
        message = Message("failed", error=describe(error))
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(BrokenPipeError):  # the sweep is gone
        send.send(message)
    send.close()
    sys.exit(0 if message.kind == "done" else 1)


def describe(error: BaseException) -> dict[str, str]:
    """Type, message and traceback of ``error`` as text."""
    return {
        "type": type(error).__name__,
        "message": str(error) or repr(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


def _set_up(job: Job) -> None:
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_DFL)  # the server ignores them
    os.environ.clear()  # what the server has is as old as the server
    os.environ.update(job.environment)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(job.threads)))
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(job.threads)
    if job.log is not None:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("ab") as handle:
            os.dup2(handle.fileno(), 1)
            os.dup2(handle.fileno(), 2)
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(line_buffering=True)
        print(f"--- {datetime.now(UTC).isoformat(timespec='seconds')} process {os.getpid()}")


def _follow_parent() -> None:
    """Leave the terminal's process group, and end when the sweep does, whatever ends it."""
    with contextlib.suppress(PermissionError):  # already the leader of a group
        os.setsid()
    if sys.platform == "linux":
        # Covers a killed fork server; a killed sweep is noticed through the sentinel.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.process.parent_process()
    if parent is None:
        return
    if connection.wait([parent.sentinel], 0):  # it left before this process began
        os._exit(1)
    threading.Thread(target=_await, args=(parent.sentinel,), name="parent-watch", daemon=True).start()


def _await(parent: int) -> None:
    connection.wait([parent])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    os.killpg(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def handling(handlers: Mapping[signal.Signals, Any]) -> Iterator[Mapping[signal.Signals, Any]]:
    """Handle signals so meanwhile, in the main thread; elsewhere do nothing. Yields the earlier handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield {}
        return
    found = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield found
    finally:
        for number, before in found.items():
            signal.signal(number, before)


def interrupts_ignored() -> contextlib.AbstractContextManager[object]:
    """Let a program started meanwhile ignore Ctrl-C for good: the sweep decides what it means."""
    return handling({signal.SIGINT: signal.SIG_IGN})


def on_request_to_end(handler: Callable[[], None]) -> contextlib.AbstractContextManager[object]:
    """Call ``handler`` in the main thread for every request to end; elsewhere than there, do nothing.

    Under ``nohup`` a closed terminal stays ignored: the sweep is to outlive it.
    """
    terminated = float("-inf")

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal terminated
        before, now = terminated, time.monotonic()
        if number != signal.SIGINT:
            terminated = now
            if now - before <= ECHO_SECONDS:
                return
        handler()

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        numbers.remove(signal.SIGHUP)
    return handling(dict.fromkeys(numbers, handle))
