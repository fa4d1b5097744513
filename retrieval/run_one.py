"""One run in this process (``python train.py`` without ``-m``)."""

import sys

from omegaconf import DictConfig

from retrieval.errors import ConfigError


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
    if directory.finished() is not None:
        print(f"already done: {directory.path}", file=sys.stderr)
        return
    print(f"run {directory.path}", file=sys.stderr)
    from retrieval.pipeline import execute

    result = execute(run)
    for key in ("eff/contrastive_entropy", "eff/ndcg@10", "ood/contrastive_entropy", "ood/ndcg@10"):
        if key in result:
            print(f"{key:28s} {result[key]:.4f}")
    print(f"result: {directory.path / 'result.json'}")
