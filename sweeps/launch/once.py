"""What several cells of a sweep need and one of them computes: their estimates count it once."""

from collections.abc import Sequence
from typing import cast

from omegaconf import DictConfig, OmegaConf

from retrieval.config import ModelConfig
from retrieval.config.model import seed_of_weights
from retrieval.data.cache import digest
from sweeps.launch.cells import Cell


def count_once(cells: Sequence[Cell]) -> None:
    """Choose the configurations by which the cells are estimated.

    The row of the untrained model is kept in the cache. So ``eval.untrained`` is off but for the first cell
    of those that start from the same weights and are measured on the same data. Cells that are done come
    first.
    """
    known: set[str] = set()
    for cell in sorted(cells, key=lambda cell: not cell.ended):
        if not cell.config.eval.get("untrained"):
            continue
        key = _start(cell)
        if key in known:
            cell.estimated = cast(DictConfig, OmegaConf.merge(cell.config, {"eval": {"untrained": False}}))
        known.add(key)


def _start(cell: Cell) -> str:
    model, evaluation = (OmegaConf.to_container(cell.config[key], resolve=True) for key in ("model", "eval"))
    seed = seed_of_weights(cast(ModelConfig, cell.config.model), int(cell.config.seed))
    return digest([cell.data, model, evaluation, seed])
