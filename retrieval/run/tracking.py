"""Mirror of a run in Weights & Biases. It may fail or be slow; training never waits for it.

A thread of its own talks to W&B: the run only puts values into a queue. The run directory stays the truth:
a resumed run hands over its whole history, and what the mirror has already is not sent twice.
"""

from __future__ import annotations

import contextlib
import logging
import netrc
import os
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlparse

from retrieval.config import LoggerConfig
from retrieval.errors import first_line
from retrieval.run.metric_names import CONTRASTIVE_ENTROPY, RANKING, REFERENCES

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

Action = Callable[[Any], None]
"""Something to do with the W&B run."""

PROBE_SECONDS = 3.0
"""A server that does not answer a plain request within this long is not asked for more."""

PROJECT = "paretrieve"
"""W&B project of a run for which neither ``logger.project`` nor W&B's own settings name one."""

METRICS = (CONTRASTIVE_ENTROPY, *RANKING)


class Mirror:
    """One W&B run: ``log`` while training, ``finish`` always. Offline without a key or a server."""

    def __init__(self, config: LoggerConfig, folder: Path, identifier: str, values: dict[str, Any]) -> None:
        """Start it, in the background.

        ``folder``: the run directory; ``identifier``: the W&B run id, derived from the run hash so that a
        resumed run goes on in the same W&B run; ``values``: the resolved configuration.
        """
        self._config, self._folder, self._identifier = config, folder, identifier
        self._options: dict[str, Any] = {
            "name": folder.name,
            "id": identifier,
            "resume": "allow",
            "config": values,
            "job_type": "train",
            "reinit": "finish_previous",
        }
        self._queue: SimpleQueue[Action | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last = 0
        """Last step that the W&B run has."""
        if config.name == "wandb" and os.environ.get("WANDB_MODE") != "disabled":
            self._thread = threading.Thread(target=self._work, name="wandb-mirror", daemon=True)
            self._thread.start()

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        """Mirror one logged step; returns at once."""

        def send(run: Any) -> None:
            if step > self._last:
                self._last = step
                run.log({"step": step, **{key: value for key, value in values.items() if value is not None}})

        self._queue.put(send)

    def catch_up(self, lines: Iterable[dict[str, Any]]) -> None:
        """Mirror the steps that a resumed run has in ``metrics.jsonl``."""
        for line in lines:
            self.log(line["step"], {key: value for key, value in line.items() if key != "step"})

    def summary(self, result: Mapping[str, Any]) -> None:
        """Mirror the final result as summary metrics, and as a table with a row a set."""
        flat = {key: value for key, value in result.items() if isinstance(value, int | float | str | bool)}

        def send(run: Any) -> None:
            import wandb

            columns, rows = result_table(result)
            if rows:
                run.log({"results": wandb.Table(columns=columns, data=rows)})
            run.summary.update(flat)

        self._queue.put(send)

    def finish(self, failed: bool = False) -> None:
        """Close the W&B run; called on every way out. Waits for an upload as long as the time-out says."""
        if self._thread is None:
            return
        self._queue.put(lambda run: run.finish(exit_code=int(failed)))
        self._queue.put(None)
        self._thread.join(PROBE_SECONDS + 3 * self._config.timeout)
        if self._thread.is_alive():
            log.warning("W&B is too slow; the end of this run is not mirrored: %s", self._remedy)
        self._thread = None

    @property
    def _remedy(self) -> str:
        """How to send what W&B has not got; its own `sync` leaves out runs that were begun online."""
        runs = f"{self._folder / 'wandb'}/run-*-{self._identifier}"
        return f"`wandb sync --include-online {runs}` sends all of it, and logger.timeout=60 waits longer"

    def _work(self) -> None:
        run = self._open()
        while (action := self._queue.get()) is not None:
            if run is None:
                continue
            try:
                action(run)
            except Exception as error:  # whatever happens in the mirror, the run itself is not concerned
                log.warning(
                    "W&B stopped answering, its mirror of this run ends here (%s): %s",
                    first_line(error),
                    self._remedy,
                )
                with contextlib.suppress(Exception):
                    run.finish(quiet=True)
                run = None

    def _open(self) -> Any:
        """The W&B run, online, offline or, where W&B is switched off, ``None``."""
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        own = wandb.setup().settings
        self._options |= _chosen(self._config, own)
        folder = Path(own.root_dir) if "WANDB_DIR" in os.environ else self._folder
        self._options["dir"] = str(folder)
        if own.mode == "disabled":
            return None
        if has_wandb_key() and own.mode not in ("offline", "dryrun"):
            run = self._start("online") if _answers(min(PROBE_SECONDS, self._config.timeout)) else None
            if run is not None:
                return run
            log.warning("W&B does not answer; this run is logged offline, `make sync` uploads it later")
            wandb.teardown()  # a run that a server refused keeps its id until then
            _remove(folder, f"run-*-{self._identifier}")
        # What a killed run wrote offline may lack its last steps; the new run has them all.
        _remove(folder, f"offline-run-*-{self._identifier}")
        return self._start("offline")

    def _start(self, mode: Literal["online", "offline"]) -> Any:
        import wandb

        wanted: dict[str, Any] = dict.fromkeys(("init_timeout", "finish_timeout"), self._config.timeout)
        wanted["finish_timeout_raises"] = True  # else the run is marked as crashed there, and nobody is told
        # The address of a remote may hold a token; the manifest has the commit.
        wanted |= {"x_disable_stats": True, "console": "off", "disable_git": True}
        known = wandb.Settings.model_fields
        try:
            settings = wandb.Settings(**{key: value for key, value in wanted.items() if key in known})
            run = wandb.init(mode=mode, settings=settings, **self._options)
            run.define_metric("step", hidden=True)
            for group in ("train/*", "val/*"):
                run.define_metric(group, step_metric="step")
            self._last = int(run.summary.get("step") or 0) if run.resumed else 0
        except Exception as error:
            log.warning("W&B is not available: %s", first_line(error))
            return None
        return run


def _chosen(config: LoggerConfig, own: wandb.Settings) -> dict[str, Any]:
    """Options of ``wandb.init``: our keys where they are set, else what the user told W&B itself.

    ``own``: what W&B read from its environment variables and from its settings files.
    """
    found: dict[str, Any] = {"project": config.project or own.project or PROJECT}
    if config.group is not None:
        found["group"] = config.group
    if config.tags:
        found["tags"] = list(config.tags)
    return found


def _remove(folder: Path, pattern: str) -> None:
    """Delete W&B's folders of a run that were not uploaded."""
    for path in (folder / "wandb").glob(pattern):
        if not list(path.glob("*.synced")):
            shutil.rmtree(path, ignore_errors=True)


def result_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of a result: one row for each set and metric, the reference rows' beside it.

    Dev sets (``dev/…``) have rows of their own; there is nothing beside them.
    """
    sets = dict.fromkeys(key.rpartition("/")[0] for key in result if key.rpartition("/")[2] in METRICS)
    own = [name for name in sets if name.partition("/")[0] not in REFERENCES]
    rows = [
        [name, metric, result[key], *(result.get(f"{reference}/{key}") for reference in REFERENCES)]
        for name in own
        for metric in METRICS
        if (key := f"{name}/{metric}") in result
    ]
    return ["set", "metric", "value", *REFERENCES], rows


def has_wandb_key() -> bool:
    """Whether W&B could be asked without a prompt: a key in the environment or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        known = netrc.netrc(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return False
    return any(known.authenticators(urlparse(each).netloc) is not None for each in _addresses())


def _server() -> str:
    """Address of the server as the client has it: its environment, its settings files or its own default."""
    if named := os.environ.get("WANDB_BASE_URL"):
        return named
    import wandb

    return str(wandb.setup().settings.base_url)


def _addresses() -> tuple[str, ...]:
    """The server's address, and the one behind it under which older keys were stored."""
    from wandb.sdk.lib import urls

    server, behind = _server(), getattr(urls, "forge_upstream_url", None)
    return (server,) if behind is None else (server, behind(server))


def _answers(seconds: float) -> bool:
    """Whether the server answers a request with anything at all."""
    try:
        with urllib.request.urlopen(_server(), timeout=seconds):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
