"""One run in this process (``python train.py`` without ``-m``)."""

import sys
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from retrieval.errors import ConfigError
from retrieval.run.directory import RunDirectory


def run_single(config: DictConfig) -> None:
    """Run the cell and say where its result is.

    Raises:
        ParetrieveError: an error with one line for people.
    """
    from retrieval.opened import Run

    run = Run.open(config)
    if config.sweep.cells or config.sweep.where:
        raise ConfigError("sweep.cells and sweep.where choose the cells of a sweep; add -m")
    directory = run.directory
    directory.check_config(config)
    finished = directory.finished()
    if finished is not None:
        print(f"already done: {directory.path}", file=sys.stderr)
        _tell(directory, finished)
        return
    print(f"run {directory.path}", file=sys.stderr)
    from retrieval.pipeline import execute

    _tell(directory, execute(run))


def _tell(directory: RunDirectory, result: Mapping[str, Any]) -> None:
    """Print the main metrics and where all of them are."""
    for key in ("eff/contrastive_entropy", "eff/ndcg@10", "ood/contrastive_entropy", "ood/ndcg@10"):
        if key in result:
            print(f"{key:28s} {result[key]:.4f}")
    print(f"result: {directory.path / 'result.json'}")
