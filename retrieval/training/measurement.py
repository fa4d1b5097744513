"""Dev losses while training: what some rules of ω are steered by, never test pairs.

E_dev is the in-domain ranking loss of dev pairs; R_dev is that of robust-dev domains, of perturbed in-domain
dev pairs, or of both, as ``strategy.robust`` says. Both are means over blocks of ``train.batch_size`` pairs,
so they have as many negatives as a training loss and can be compared with it. The pairs are fixed, so that a
change between two measurements is the model's.
"""

import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from retrieval.data.batches import Batch, Stream, TrainingPairs, collate
from retrieval.data.collection import Collection
from retrieval.errors import ConfigError
from retrieval.evaluation.roles import DEV, dev_splits, robust_dev_splits, split_of_test
from retrieval.models.flops import FORWARD, Work
from retrieval.models.scorer import Scorer
from retrieval.training.adversary import AttackedBatch
from retrieval.training.callbacks import MetricsCallback
from retrieval.training.interpolation import Measure
from retrieval.training.objective import block_loss, step_work
from retrieval.training.omega.rule import Rule
from retrieval.training.perturbation import Perturbation
from retrieval.training.prepared import PreparedData
from retrieval.training.strategy import OTHER_DOMAINS, PERTURBED, Strategy
from retrieval.training.streams import TrainingData, dev_streams

Samples = Mapping[str, tuple[Batch, ...]]
"""``eff`` and ``rob`` → what the loss is the mean of: batches of blocks, or of one perturbed block."""


def dev_loss(encoder: Scorer, batch: Batch, perturbation: Perturbation | None) -> tuple[Tensor, Work]:
    """Mean loss of the blocks of a batch, 0-d, and what it took."""
    tokens, offset, work = batch.tokens, None, step_work(encoder, batch) * FORWARD
    if isinstance(batch, AttackedBatch):
        assert perturbation is not None
        seen = perturbation(encoder, batch)
        tokens, offset = seen.tokens, seen.offset
        work = step_work(encoder, seen.sized(batch)) * FORWARD + seen.work
    with torch.no_grad():
        vectors = encoder(tokens, offset)
        losses = [block_loss(encoder, vectors, batch, name) for name in batch.blocks]
    return torch.stack(losses).mean(), work


def dev_sides(data: PreparedData) -> tuple[str, ...]:
    """Losses that have dev pairs: ``eff`` where they stand beside a test, ``rob`` with robust-dev domains."""
    eff = "eff" in dev_splits(data.in_domain, {})
    return ("eff",) * eff + ("rob",) * bool(data.robust_dev)


def dev_samples(data: PreparedData, rule: Rule, batch_size: int, seed: int) -> Samples:
    """The fixed dev pairs that a rule asks for.

    ``strategy.measure_pairs`` of each collection at most; of proxies, which are cheap, four times as many.

    Raises:
        ConfigError: there are none, or fewer than one block.
        DataError: a robust-dev collection has no split to evaluate on.
    """
    wanted, robust, count = rule.measures, rule.config.robust, rule.config.measure_pairs
    if rule.trains_proxies:
        count *= 4
    made: dict[str, tuple[Batch, ...]] = {}
    if "eff" in wanted or robust != "ood":
        if "eff" not in dev_sides(data):
            raise ConfigError(
                f"strategy.rule={rule.name} is steered by in-domain dev pairs and {data.in_domain.name} has "
                "none beside its test; choose strategy.rule=repeats, fixed or dro"
            )
        pairs = _pairs(data, data.in_domain, DEV)
    if "eff" in wanted:
        made["eff"] = (_sample(pairs, count, batch_size, seed, rule.name),)
    if "rob" in wanted:
        samples: list[Batch] = []
        if robust != "ood":
            samples.append(_perturbed(pairs, batch_size, seed, rule.name))
        if robust != "adversarial":
            if not data.robust_dev:
                raise ConfigError(
                    f"strategy.rule={rule.name} is steered by robust-dev domains and data.robust_dev is "
                    "empty; name a collection that is neither trained on nor tested on, or choose "
                    "strategy.rule=repeats, fixed or dro"
                )
            for collection, split in robust_dev_splits(data.robust_dev).values():
                samples.append(_sample(_pairs(data, collection, split), count, batch_size, seed, rule.name))
        made["rob"] = tuple(samples)
    return made


def recalibration_batch(data: PreparedData, strategy: Strategy, seed: int) -> Batch:
    """One batch of dev pairs of the in-domain collection and of the robust-training domains.

    Raises:
        ConfigError: a collection that is needed has no dev split, or none beside its test.
    """
    in_domain = data.in_domain
    if split_of_test(in_domain.splits) == DEV:
        raise ConfigError(
            f"strategy.recalibrate needs dev pairs, and the dev split of {in_domain.name} is its test; "
            "set strategy.recalibrate=0"
        )
    needed = [*data.robust.values()] if OTHER_DOMAINS in strategy.shares else []
    for collection in (in_domain, *needed):
        if DEV not in collection.splits:
            raise ConfigError(
                f"strategy.recalibrate needs dev pairs and {collection.name} has no qrels/dev.tsv; "
                "add it, or set strategy.recalibrate=0"
            )
    dev = TrainingData(_pairs(data, in_domain, DEV), tuple(_pairs(data, part, DEV) for part in needed))
    return collate(dev_streams(strategy, dev), seed, step=0)


def _pairs(data: PreparedData, collection: Collection, split: str) -> TrainingPairs:
    judged = collection.judgements(split)
    stores = data.store(collection, "queries"), data.store(collection, "passages")
    return TrainingPairs(collection.name, *stores, pairs=judged, known=judged)


def _sample(pairs: TrainingPairs, count: int, batch_size: int, seed: int, rule: str) -> Batch:
    blocks = min(count, len(pairs)) // batch_size
    if blocks == 0:
        raise ConfigError(
            f"strategy.rule={rule} compares dev losses with those of train.batch_size={batch_size} training "
            f"pairs; {pairs.name} has {len(pairs)} dev pairs and strategy.measure_pairs={count}; "
            "raise the latter, or choose another rule"
        )
    streams = tuple(Stream(str(block), (pairs,), batch_size) for block in range(blocks))
    return collate(streams, seed, 0, positions={str(block): block for block in range(blocks)})


def _perturbed(pairs: TrainingPairs, batch_size: int, seed: int, rule: str) -> Batch:
    if len(pairs) < batch_size:
        raise ConfigError(
            f"strategy.rule={rule} needs train.batch_size={batch_size} dev pairs and {pairs.name} has "
            f"{len(pairs)}; choose another rule"
        )
    return AttackedBatch.of(collate((Stream(PERTURBED, (pairs,), batch_size),), seed, 0), PERTURBED)


class DevLosses:
    """Measures E_dev and R_dev of an encoder in training, without dropout, and counts what it takes."""

    def __init__(
        self, encoder: Scorer, perturbation: Perturbation | None, samples: Samples, metrics: MetricsCallback
    ) -> None:
        self.encoder, self.perturbation, self.samples, self.metrics = encoder, perturbation, samples, metrics

    def __call__(self) -> tuple[float, float]:
        """E_dev and R_dev as the encoder is; NaN for what the rule did not ask for."""
        start = time.perf_counter()
        device = next(self.encoder.parameters()).device
        self.samples = {side: tuple(batch.to(device) for batch in own) for side, own in self.samples.items()}
        self.encoder.eval()
        found, work = {"eff": float("nan"), "rob": float("nan")}, Work()
        for side, batches in self.samples.items():
            losses = [dev_loss(self.encoder, batch, self.perturbation) for batch in batches]
            found[side] = float(torch.stack([loss for loss, _ in losses]).mean())
            work = sum((taken for _, taken in losses), work)
        self.encoder.train()
        self.metrics.measured(work, time.perf_counter() - start)
        return found["eff"], found["rob"]


class WeightsCallback(pl.Callback):
    """Lets a rule act on the weights after every step, before a checkpoint is written."""

    def __init__(self, rule: Rule, measure: Measure) -> None:
        self.rule, self.measure = rule, measure

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The weights of the start, or those of the checkpoint."""
        self.rule.before_training(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """As the rule has it."""
        self.rule.change_weights(trainer.global_step, pl_module, trainer.optimizers[0], self.measure)
