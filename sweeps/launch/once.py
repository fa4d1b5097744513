"""What several cells of a sweep need and one of them computes: their estimates count it once."""

from collections.abc import Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from retrieval.config import Config
from retrieval.config.model import seed_of_weights
from retrieval.data.cache import digest
from sweeps.launch.cells import Cell


def counted_once(cells: Sequence[Cell]) -> list[DictConfig]:
    """Configurations by which to estimate the cells, in their order.

    The row of the untrained model is kept in the cache. So ``eval.untrained`` is off but for the first cell
    of those that start from the same weights and are measured on the same data. Cells that are done come
    first.
    """
    known: set[str] = set()
    found: dict[int, DictConfig] = {}
    for place in sorted(range(len(cells)), key=lambda place: not cells[place].ended):
        cell = cells[place]
        found[place] = cell.config
        if not cell.config.eval.get("untrained"):
            continue
        key = _start(cell)
        if key in known:
            found[place] = cast(DictConfig, OmegaConf.merge(cell.config, {"eval": {"untrained": False}}))
        known.add(key)
    return [found[place] for place in range(len(cells))]


def _start(cell: Cell) -> str:
    config: Any = cast(Config, cell.config)
    plain = OmegaConf.to_container(cell.config, resolve=True)
    assert isinstance(plain, dict)
    return digest([cell.data, plain["model"], plain["eval"], seed_of_weights(config.model, int(config.seed))])
