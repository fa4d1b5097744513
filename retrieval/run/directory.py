"""The run directory: status, metrics, result and the claim that keeps two processes off one run.

A directory is complete, self-describing and valid at every moment: files are replaced atomically, the
metrics are append-only, and the claim is a lock of the operating system that dies with its process.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from retrieval.config import Config, ModelConfig
from retrieval.errors import ConfigError, ParetrieveError
from retrieval.run.files import (
    MetricsLog,
    read_json,
    read_metrics,
    read_status,
    remove_unfinished,
    write_json,
    write_text,
)
from retrieval.run.identity import (
    LATER_ATTACK_KEYS,
    as_config,
    changed_key,
    identity,
    identity_hash,
    run_name,
)
from retrieval.run.manifest import manifest, uncommitted, with_earlier
from retrieval.run.ownership import NOBODY, is_here, lives, owner

State = Literal["absent", "running", "stopped", "done", "failed"]

HEARTBEAT_SECONDS = 15.0
PROGRESS_SECONDS = 1.0
"""Shortest time between two writes of the progress."""


class RunBusyError(ParetrieveError):
    """Another living process works on this run."""


class RunDirectory:
    """One run's folder; all paths, reads and writes of it go through here."""

    def __init__(self, path: str | Path, identity: str | None = None) -> None:
        """``identity``: whole hash of the run that belongs there, ``None`` = whichever is there."""
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        """Folder of the trained encoder, in the sentence-transformers format."""
        self.config = self.path / "config.yaml"
        """Resolved configuration."""
        self.log = self.path / "log.txt"
        """Standard output and error of the run when a launcher started it."""
        self._status = self.path / "status.json"
        self._identity = identity
        self._mutex = threading.RLock()
        self._written = float("-inf")
        self._phase: str | None = None

    @classmethod
    def of(cls, config: DictConfig | Config, fingerprint: str) -> RunDirectory:
        """The directory of the run that ``config`` describes, below ``config.runs``."""
        who = identity_hash(identity(config, fingerprint))
        return cls(Path(config.runs) / run_name(config, who), who)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    def status(self) -> dict[str, Any] | None:
        """``status.json``, or ``None`` when the run never started."""
        return read_status(self._status)

    def result(self) -> dict[str, Any] | None:
        """``result.json``, or ``None``."""
        return read_json(self.path / "result.json")

    def finished(self) -> dict[str, Any] | None:
        """The result of a run that is done, ``None`` of any other.

        Raises:
            ConfigError: Another run is there: the name holds 8 digits of the identity, the status all.
        """
        status = self.status() or {}
        if self._identity is not None and status.get("identity", self._identity) != self._identity:
            raise ConfigError(
                f"{self.path} holds another run, whose identity begins with the same digits; "
                "set runs=FOLDER to another folder"
            )
        return self.result() if status.get("state") == "done" else None

    def state(self) -> State:
        """Where the run stands; ``stopped`` = its process is gone without an end, it can be resumed."""
        status = self.status() or {}
        state = status.get("state")
        if state == "running" and not lives(status, self._status):
            return "stopped"
        return cast(State, state) if state in ("running", "done", "failed") else "absent"

    def refresh(self) -> None:
        """Have a network file system ask its server what is there, in place of what it remembers.

        A client may remember for a minute that a file was absent; opening the folder makes it ask.
        """
        with contextlib.suppress(OSError), os.scandir(self.path.parent):
            pass  # opened and not read: it may hold thousands
        with contextlib.suppress(OSError):
            list(self.path.iterdir())

    @contextlib.contextmanager
    def claim(self, timeout: float = 2.0) -> Iterator[dict[str, Any] | None]:
        """Own the run: ``with directory.claim() as result``.

        Yields the result when the run is done already (nothing is owned then, return it), else ``None``
        while this process, and no other, may write to the directory. An exception inside marks the run
        failed; an interruption (``SystemExit``, ``KeyboardInterrupt``) leaves it to be resumed.

        ``timeout``: seconds to wait for a lock that another process holds.

        Raises:
            RunBusyError: A living process, here or on another host, works on it.
            ConfigError: Another run is there.
        """
        result = self.finished()
        if result is not None:
            yield result
            return
        lock = self._lock(timeout)
        try:
            result = self.finished()  # another process may have ended it while this one waited
            if result is not None:
                yield result
                return
            status = self.status() or {}
            if status.get("state") == "running" and not is_here(status) and lives(status, self._status):
                raise self._busy()
            remove_unfinished(self.path)
            with self._owner():
                yield None
        finally:
            lock.release()

    def start(self, steps: int, step: int = 0) -> None:
        """Say how many optimisation steps the run has and at which it starts (after a resume)."""
        self._update(step=step, steps=steps, first_step=step, phase="train")

    def progress(self, step: int, phase: str = "train") -> None:
        """Record the step reached; cheap: written once a second and on a new phase.

        ``phase``: ``data``, ``proxies``, ``train`` or ``evaluate``.
        """
        if phase != self._phase or time.monotonic() - self._written >= PROGRESS_SECONDS:
            self._phase = phase
            self._update(step=step, phase=phase)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Store the result, then mark the run done: a kill between the two leaves a run to be resumed."""
        write_json(self.path / "result.json", result)
        status = self.status() or {}
        self._update(state="done", finished=now(), error=None, step=status.get("steps"), phase=None)

    def fail_unless_done(self, error: Mapping[str, str]) -> bool:
        """Mark another process's run failed, see :meth:`fail`, unless it is done; whether it was marked."""
        self.refresh()
        with self._mutex:
            if self.state() == "done":
                return False
            self.fail(error)
        return True

    def fail(self, error: BaseException | Mapping[str, str]) -> None:
        """Mark the run failed by an exception, or another process's ``{"type", "message", "traceback"}``."""
        if isinstance(error, BaseException):
            error = {
                "type": type(error).__name__,
                "message": str(error),
                "traceback": "".join(traceback.format_exception(error)),
            }
        self._update(state="failed", finished=now(), error=dict(error))

    def metrics_log(self, resume_step: int | None = None) -> MetricsLog:
        """Open ``metrics.jsonl`` for writing; see :class:`MetricsLog`."""
        return MetricsLog(self.path / "metrics.jsonl", resume_step)

    def metrics(self) -> list[dict[str, Any]]:
        """All whole lines of ``metrics.jsonl``."""
        return read_metrics(self.path / "metrics.jsonl")

    def check_config(self, config: DictConfig | Config) -> None:
        """Refuse a directory whose ``config.yaml`` is no longer that of the run in it.

        Raises:
            ConfigError: A setting that counts differs from ``config``; it is named.
        """
        if not self.config.exists():
            return
        key = changed_key(self.config, config)
        if key is not None:
            raise ConfigError(
                f"{self.config} was changed since the run was made (see {key}), so it no longer describes "
                f"what is beside it; restore it, or delete {self.path} to run anew"
            )

    def write_config(self, config: DictConfig | Config) -> None:
        """Write ``config.yaml`` with all interpolations resolved."""
        write_text(self.config, OmegaConf.to_yaml(as_config(config), resolve=True))

    def write_manifest(self, **extra: Any) -> dict[str, Any]:
        """Write and return ``manifest.json``; ``extra`` as in :func:`retrieval.run.manifest.manifest`.

        ``code.diff`` beside it holds what differed from the commit. A resume with other code or versions
        keeps what the manifest said before, under ``earlier``.
        """
        made = with_earlier(manifest(**extra), read_json(self.path / "manifest.json"))
        difference, patch = uncommitted(), self.path / "code.diff"
        if difference is None:
            patch.unlink(missing_ok=True)
        else:
            write_text(patch, difference)
        write_json(self.path / "manifest.json", made)
        return made

    def _lock(self, timeout: float) -> FileLock:
        lock = FileLock(self.path / ".lock", timeout=timeout, thread_local=False)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise self._busy() from None
        except OSError as error:
            reason = f"{type(error).__name__}: {error.strerror}"
            raise ParetrieveError(f"cannot write to {self.path} ({reason}); set runs=FOLDER") from error
        return lock

    @contextlib.contextmanager
    def _owner(self) -> Iterator[None]:
        who = {} if self._identity is None else {"identity": self._identity}
        self._update(**who, state="running", started=now(), finished=None, error=None, phase=None, **owner())
        end = threading.Event()
        heart = threading.Thread(target=self._beat, args=(end,), name="heartbeat", daemon=True)
        heart.start()
        try:
            yield
        except Exception as error:
            with contextlib.suppress(OSError):  # a full disk must not hide the first error
                self.fail(error)
            raise
        finally:
            end.set()
            heart.join()
            if (self.status() or {}).get("state") == "running":
                with contextlib.suppress(OSError):
                    self._update(**NOBODY)

    def _beat(self, end: threading.Event) -> None:
        while not end.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # the next beat tries again
                self._update()

    def _update(self, **changes: Any) -> None:
        with self._mutex:
            status = self.status() or {"state": "running", "step": 0, "steps": None}
            write_json(self._status, {**status, **changes, "updated": now()})
            self._written = time.monotonic()

    def _busy(self) -> RunBusyError:
        status = self.status() or {}
        where = f"process {status.get('pid')} on {status.get('host')}"
        return RunBusyError(
            f"{self.path} is being run by {where}; wait for it, or stop it and run this again"
        )


def now() -> str:
    """The time in UTC as ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def stored_config(run: Path) -> Config:
    """The configuration in a run's folder; keys of models and attacks that came later have their defaults.

    Raises:
        ConfigError: There is none.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"{run}: no run directory (config.yaml is missing)")
    return cast(Config, with_later_keys(cast(DictConfig, OmegaConf.load(path))))


def with_later_keys(stored: DictConfig) -> DictConfig:
    """A stored configuration, in place: keys of models and attacks that came later have their defaults."""
    defaults = OmegaConf.to_container(OmegaConf.structured(ModelConfig))
    stored.model = OmegaConf.merge(OmegaConf.create(defaults), stored.get("model") or {})
    for name, later in LATER_ATTACK_KEYS.items():
        options = OmegaConf.select(stored, f"attack.{name}")
        if isinstance(options, DictConfig):
            stored.attack[name] = OmegaConf.merge(OmegaConf.create(later), options)
    return stored
