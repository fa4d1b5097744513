"""Mirror of a run in Weights & Biases. It may fail or be slow; training never stops for it."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from retrieval.config import LoggerConfig

log = logging.getLogger(__name__)


class Mirror:
    """One W&B run: ``log`` while training, ``finish`` always. Offline without a key or a server."""

    def __init__(self, config: LoggerConfig, folder: Path, identifier: str, values: dict[str, Any]) -> None:
        """Start it.

        ``folder``: the run directory; ``identifier``: the W&B run id, derived from the run hash so that a
        resumed run goes on in the same W&B run; ``values``: the resolved configuration.
        """
        self._run: Any = None
        if config.name != "wandb":
            return
        os.environ.setdefault("WANDB_SILENT", "true")
        options: dict[str, Any] = {
            "project": config.project,
            "group": config.group,
            "tags": list(config.tags),
            "name": folder.name,
            "id": identifier,
            "resume": "allow",
            "dir": str(folder),
            "config": values,
            "job_type": "train",
            "reinit": "finish_previous",
        }
        wish = os.environ.get("WANDB_MODE")
        if wish == "disabled":
            return
        mode: Literal["online", "offline"] = "online" if _has_key() and wish != "offline" else "offline"
        if not self._start(mode, config.timeout, options) and mode == "online":
            log.warning("W&B did not answer within %d s; this run is logged offline", config.timeout)
            self._start("offline", config.timeout, options)

    def _start(self, mode: Literal["online", "offline"], timeout: int, options: dict[str, Any]) -> bool:
        import wandb

        try:
            settings = wandb.Settings(init_timeout=timeout, x_disable_stats=True, console="off")
            self._run = wandb.init(mode=mode, settings=settings, **options)
            self._run.define_metric("step", hidden=True)
            self._run.define_metric("train/*", step_metric="step")
        except Exception as error:  # whatever happens in the mirror, the run itself is not concerned
            log.warning("W&B is not available: %s", str(error).splitlines()[0] if str(error) else error)
            return False
        return True

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Mirror one logged step."""
        self._safely(lambda: self._run.log({"step": step, **values}))

    def summary(self, result: Mapping[str, Any]) -> None:
        """Mirror the final result as summary metrics."""
        flat = {key: value for key, value in result.items() if isinstance(value, int | float | str | bool)}
        self._safely(lambda: self._run.summary.update(flat))

    def finish(self, failed: bool = False) -> None:
        """Close the W&B run; called on every way out."""
        self._safely(lambda: self._run.finish(exit_code=int(failed)))
        self._run = None

    def _safely(self, action: Any) -> None:
        if self._run is None:
            return
        try:
            action()
        except Exception as error:
            log.warning("W&B stopped answering, its mirror of this run ends here: %s", error)
            run, self._run = self._run, None
            with contextlib.suppress(Exception):
                run.finish(quiet=True)


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    import netrc
    from urllib.parse import urlparse

    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
