"""The runs table from Weights & Biases, through its public API, a page at a time."""

from typing import Any

from retrieval.errors import first_line
from retrieval.run.tracking import has_wandb_key
from sweeps.diagnostics import TableError
from sweeps.table.runs import Collected, Skipped, assemble

PAGE = 200
TIMEOUT_SECONDS = 30


def collect_wandb(path: str, api: Any = None) -> Collected:
    """Read all runs of ``ENTITY/PROJECT``; by default through a ``wandb.Api`` of its own that never prompts.

    Raises TableError, one line, when ``path`` is malformed, no API key is found, or W&B does not answer.
    """
    if path.count("/") != 1 or not all(path.split("/")):
        raise TableError(f"--wandb {path}: expected ENTITY/PROJECT")
    api = api or _connect()
    try:
        runs = list(api.runs(path, per_page=PAGE, lazy=False))
        return assemble(_row(run) for run in runs)
    except Exception as error:  # the client raises its own, requests' and ValueError alike
        raise TableError(f"W&B did not give the runs of {path}: {first_line(error)}") from None


def _connect() -> Any:
    try:
        import wandb
    except ImportError:
        raise TableError("--wandb needs the wandb package: pip install wandb; or use --runs DIR") from None
    if not has_wandb_key():  # the client would ask for one on a terminal
        raise TableError(
            "--wandb needs an API key: set WANDB_API_KEY or run `wandb login`; or use --runs DIR"
        )
    try:
        return wandb.Api(timeout=TIMEOUT_SECONDS)
    except Exception as error:
        raise TableError(
            f"W&B cannot be reached: {first_line(error)}; use --runs DIR for the local copies"
        ) from None


def _row(run: Any) -> dict[str, Any] | Skipped:
    name = str(run.name or run.id)
    summary = {key: value for key, value in dict(run.summary_metrics).items() if not key.startswith("_")}
    if run.state in ("failed", "crashed", "killed"):
        return Skipped(name, "failed", f"W&B state {run.state}")
    if run.state != "finished":
        return Skipped(name, "unfinished", f"W&B state {run.state}")
    if "run" not in summary:
        return Skipped(name, "unreadable", "its summary has no result (no key `run`)")
    return summary
