"""Training pairs per second: our trainer against sentence-transformers' on the same pairs and shapes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from benchmarks.peer import Effort, Kind, StepClock, pairs_per_second
from benchmarks.work import BATCH, model_config, tokenizer, training_pairs
from retrieval.config import ModelConfig, StrategyConfig, TrainConfig
from retrieval.data.batches import Steps
from retrieval.models import bert
from retrieval.models.families import build_scorer
from retrieval.run.hardware import settle
from retrieval.training.memory import HeapCallback
from retrieval.training.module import RetrievalModule, learning_rates
from retrieval.training.objective import Setting, build_objective
from retrieval.training.sampling import Sampler
from retrieval.training.streams import TrainingData

CPU_EFFORT = {
    "tiny": Effort(54, 40),
    "mini": Effort(24, 16),
    "small": Effort(4, 6),
    "medium": Effort(3, 3),
    "base": Effort(2, 3),
}
"""The small ones until the heap has stopped to grow, which slows down both sides (ours by 4-15 % of what it
does afterwards), and bert-tiny until its memory has moved into huge pages, also at a third of this warm-up;
a step of sentence-transformers at bert-base takes about half a minute on two cores."""
GPU_EFFORT = Effort(20, 60)


def effort(size: str, device: str, quick: bool = False) -> Effort:
    """How long a contestant trains."""
    whole = CPU_EFFORT[size] if device == "cpu" else GPU_EFFORT
    return whole.quick if quick else whole


class _Lightning(pl.Callback):
    def __init__(self, clock: StepClock, watch: Callable[[int], None] | None) -> None:
        self.clock, self.watch = clock, watch

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.watch is not None:
            self.watch(trainer.global_step)
        self.clock.tick()


def ours(
    size: str,
    dropout: float,
    precision: str,
    device: str = "cpu",
    batch: int = BATCH,
    mini: int | None = None,
    steps: Effort | None = None,
    model: ModelConfig | None = None,
    compiled: bool = False,
    watch: Callable[[int], None] | None = None,
) -> float:
    """Pairs per second of our trainer; ``mini``: texts encoded at a time (gradient caching).

    ``watch``: told the number of each step when it has ended, before a GPU is waited for.
    """
    steps = steps or effort(size, device)
    total = steps.total
    pairs = training_pairs(batch * total)
    model, train = model or model_config(size, dropout), TrainConfig(steps=total, batch_size=batch)
    encoder = build_scorer(model, tokenizer(), 1, precision)
    encoder.mini_batch_size = mini
    if compiled:
        # Of one contestant: what is kept of all of them would reach the limit at which PyTorch gives up.
        torch._dynamo.reset()
        bert._compiled_layers.cache_clear()
        encoder.compile_layers(torch.device(device))
    objective = build_objective(StrategyConfig(), Setting(seed=1, tokenizer=tokenizer()))
    sampler = Sampler(objective, TrainingData(pairs), batch, 1)
    module = RetrievalModule(encoder, objective, train, learning_rates(train, model), 1, sampler)
    clock = StepClock(steps, device)
    trainer = pl.Trainer(
        max_steps=total,
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[_Lightning(clock, watch), HeapCallback()],
    )
    with as_in_runs(device):
        trainer.fit(module, DataLoader(Steps(0, total), batch_size=None))
    return clock.pairs_per_second(batch)


@contextmanager
def as_in_runs(device: str) -> Iterator[None]:
    """With the deterministic operations that a run takes on a GPU; peers choose for themselves."""
    before = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    settle(torch.device(device))
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warns)


def sentence_transformers(
    size: str,
    dropout: float,
    bf16: bool,
    device: str = "cpu",
    batch: int = BATCH,
    mini: int | None = None,
    steps: Effort | None = None,
) -> float:
    """Pairs per second of ``SentenceTransformerTrainer`` with MultipleNegativesRankingLoss.

    ``mini``: texts encoded at a time by CachedMultipleNegativesRankingLoss in its place.
    """
    return pairs_per_second(
        Kind("SentenceTransformer", partial(_ranking_loss, mini=mini)),
        model_config(size, dropout),
        steps or effort(size, device),
        bf16,
        device,
        batch,
    )


def _ranking_loss(model: Any, mini: int | None) -> Any:
    from sentence_transformers.sentence_transformer import losses

    if mini:
        return losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=mini)
    return losses.MultipleNegativesRankingLoss(model)


DROPOUTS = (0.1, 0.0)
"""The same on all sides."""


def synchronisations(size: str) -> float:
    """Times a step of our trainer makes the host wait for the GPU, counted by PyTorch's own check.

    Counted are the steps after the warm-up, without moves of weights before the first and after the last.
    """
    until: dict[int, int] = {}
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")

            def watch(step: int) -> None:
                until[step] = sum("synchroniz" in str(warning.message) for warning in caught)

            ours(size, 0.1, "bf16", "cuda", steps=GPU_EFFORT, watch=watch)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    # The clock itself waits at the end of the last warm-up step, after it is told of it.
    counted = until[GPU_EFFORT.total] - until[GPU_EFFORT.warm + 1]
    return counted / (GPU_EFFORT.timed - 1)
