"""Dev pairs on which the two training losses are measured as contrastive entropy, never test pairs."""

from __future__ import annotations

from retrieval.data.batches import Batch, TrainingPairs, collate
from retrieval.data.collection import Collection
from retrieval.errors import ConfigError
from retrieval.evaluation.suite import evaluation_split
from retrieval.training.prepared import PreparedData
from retrieval.training.strategy import OTHER_DOMAINS, Strategy
from retrieval.training.streams import TrainingData, dev_streams

DEV = "dev"


def recalibration_batch(data: PreparedData, strategy: Strategy, seed: int) -> Batch:
    """One batch of dev pairs of the in-domain collection and of the robust-training domains.

    Raises:
        ConfigError: a collection that is needed has no dev split, or none beside its test.
    """
    in_domain = data.in_domain
    if evaluation_split(in_domain) == DEV:
        raise ConfigError(
            f"strategy.recalibrate needs dev pairs, and the dev split of {in_domain.name} is its test; "
            "set strategy.recalibrate=0"
        )
    needed = [*data.robust.values()] if OTHER_DOMAINS in strategy.shares else []
    dev = TrainingData(_pairs(data, in_domain), tuple(_pairs(data, part) for part in needed))
    return collate(dev_streams(strategy, dev), seed, step=0)


def _pairs(data: PreparedData, collection: Collection) -> TrainingPairs:
    if DEV not in collection.splits:
        raise ConfigError(
            f"strategy.recalibrate needs dev pairs and {collection.name} has no qrels/dev.tsv; "
            "add it, or set strategy.recalibrate=0"
        )
    judged = collection.judgements(DEV)
    stores = data.store(collection, "queries"), data.store(collection, "passages")
    return TrainingPairs(collection.name, *stores, pairs=judged, known=judged)
