"""What the texts of a cell are like, read from its prepared data: how many, how long."""

import numpy as np
from omegaconf import DictConfig

from retrieval.config import EvalConfig
from retrieval.config.validation import validate
from retrieval.data.collection import Collection
from retrieval.data.testset import build_evaluation_set
from retrieval.data.tokens import TokenStore
from retrieval.evaluation.encoded import union_of_pools
from retrieval.evaluation.roles import dev_splits, evaluation_split
from retrieval.pipeline import prepare_data
from retrieval.training.prepared import TRAIN, PreparedData, prepare
from sweeps.launch.workload import Contents


def prepare_and_read(config: DictConfig) -> Contents:
    """Build everything that the runs of a sweep share, and say what it is like.

    Raises ConfigError, DataError: as :func:`retrieval.training.prepared.prepare`.
    """
    data = prepare_data(config)
    return _contents(validate(config).eval, data)


def read_contents(config: DictConfig) -> Contents:
    """Prepare the data of ``config`` as its run would, and say what they are like.

    Raises ConfigError, DataError: as :func:`retrieval.training.prepared.prepare`.
    """
    cell = validate(config)
    return _contents(cell.eval, prepare(cell))


def _contents(limits: EvalConfig, data: PreparedData) -> Contents:
    pairs = data.overlap.keep(data.in_domain.name, data.in_domain.judgements(TRAIN))
    queries = _mean_lengths(data.store(data.in_domain, "queries"), pairs.query_rows)
    passages = _mean_lengths(data.store(data.in_domain, "passages"), pairs.passage_rows)
    measured = [] if limits.name == "none" else _measured(data)
    return Contents(
        *queries,
        *passages,
        sum(
            _capped(len(np.unique(part.judgements(split).query_rows)), limits.max_queries)
            for part, split in measured
        ),
        sum(_capped(len(data.store(part, "passages")), limits.pool) for part, _ in measured),
        len(data.tokenizer),
        len(pairs),
        _repeated(data.in_domain, limits),
    )


def _mean_lengths(store: TokenStore, rows: np.ndarray) -> tuple[float, float]:
    lengths = store.lengths(np.asarray(rows)).astype(np.float64)
    return float(lengths.mean()), float(np.square(lengths).mean())


def _repeated(own: Collection, limits: EvalConfig) -> int:
    """Passages of the in-domain dev set that are encoded for the test set already."""
    dev = dev_splits(own, {}).get("eff")
    if limits.name == "none" or dev is None:
        return 0
    sets = [build_evaluation_set(own, split, limits) for split in (evaluation_split(own), dev[1])]
    return sum(len(part.passage_rows) for part in sets) - len(union_of_pools(sets))


def _measured(data: PreparedData) -> list[tuple[Collection, str]]:
    """Collection and split of every evaluation set: the tests, then the dev sets."""
    tests = [(part, evaluation_split(part)) for part in (data.in_domain, *data.ood.values())]
    return [*tests, *dev_splits(data.in_domain, data.robust_dev).values()]


def _capped(number: int, limit: int | None) -> int:
    return number if limit is None else min(number, limit)
