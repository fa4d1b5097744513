"""One measurement from collections to metrics: at the end of a run, and by ``retrieval.evaluate``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from retrieval.config import Config
from retrieval.data.collection import Collection
from retrieval.evaluation.adversarial.evaluation import AttackEvaluation
from retrieval.evaluation.suite import Measured, Reference, build_sets, evaluate_suite
from retrieval.search.retriever import Attackable


@dataclass(frozen=True)
class Collections:
    """What a suite is measured on, by role; domains by name."""

    in_domain: Collection
    robust_dev: Mapping[str, Collection]
    ood: Mapping[str, Collection]


def measure_all(
    retriever: Attackable,
    collections: Collections,
    config: Config,
    attack: AttackEvaluation | None,
    untrained: Reference | None,
) -> Measured:
    """Measure a retriever on a suite of collections, then attack it in-domain.

    Of ``config``, ``eval``, ``cache`` and ``trainer.progress`` are read. ``untrained``: the model before
    training; ``None`` leaves its row out.

    Raises:
        ConfigError: The collections are too small for the configuration, or the model cannot be attacked so.
        DataError: A collection has no split to evaluate on, or passages to replay are not those of the set.
        ParetrieveError: The retriever returned rows or scores that cannot be measured.
    """
    start = time.perf_counter()
    sets = build_sets(collections.in_domain, collections.ood, config.eval, collections.robust_dev)
    cache = Path(config.cache)
    suite = evaluate_suite(retriever, sets, config.eval, cache, untrained, keep=attack is not None)
    seconds = time.perf_counter() - start
    encoded = suite.scores["eff"].encoded
    if attack is None or encoded is None:
        return replace(suite, seconds=seconds)
    outcome = attack.run(retriever, sets.eff, encoded, config.eval, progress=config.trainer.progress)
    metrics, scores = suite.metrics | outcome.metrics, suite.scores | outcome.scores
    return Measured(metrics, scores, outcome.attacked, seconds)
