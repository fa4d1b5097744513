"""Contents of the data of cells, read from the cache (which is built where it is missing)."""

from __future__ import annotations

import numpy as np
from omegaconf import DictConfig

from retrieval.config.validation import validate
from retrieval.data.collection import Collection
from retrieval.data.tokens import TokenStore
from retrieval.evaluation.suite import dev_splits, evaluation_split
from retrieval.training.prepared import TRAIN, PreparedData, prepare
from sweeps.launch.workload import Contents


def read_contents(config: DictConfig) -> Contents:
    """Prepare the data of ``config`` as its run would, and say what they are like.

    Raises:
        ConfigError, DataError: as :func:`retrieval.training.prepared.prepare`.
    """
    cell = validate(config)
    data = prepare(cell)
    pairs = data.overlap.keep(data.in_domain.name, data.in_domain.judgements(TRAIN))
    queries = _lengths(data.store(data.in_domain, "queries"), pairs.query_rows)
    passages = _lengths(data.store(data.in_domain, "passages"), pairs.passage_rows)
    measured = [] if cell.eval.name == "none" else _measured(data)
    return Contents(
        float(queries.mean()),
        float(np.square(queries).mean()),
        float(passages.mean()),
        float(np.square(passages).mean()),
        sum(_capped(_queries(part, split), cell.eval.max_queries) for part, split in measured),
        sum(_capped(len(data.store(part, "passages")), cell.eval.pool) for part, _ in measured),
        len(data.tokenizer),
        len(pairs),
    )


def _lengths(store: TokenStore, rows: np.ndarray) -> np.ndarray:
    return store.lengths(np.asarray(rows)).astype(np.float64)


def _measured(data: PreparedData) -> list[tuple[Collection, str]]:
    """Collection and split of every evaluation set: the tests, then the dev sets."""
    tests = [(part, evaluation_split(part)) for part in (data.in_domain, *data.ood.values())]
    return [*tests, *dev_splits(data.in_domain, data.robust_dev).values()]


def _queries(collection: Collection, split: str) -> int:
    return len(np.unique(collection.judgements(split).query_rows))


def _capped(number: int, limit: int | None) -> int:
    return number if limit is None else min(number, limit)
