"""Training pairs per second: our trainer against sentence-transformers' on the same pairs and shapes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from benchmarks.work import BATCH, model_config, texts, tokenizer, training_pairs
from retrieval.config import StrategyConfig, TrainConfig
from retrieval.data.batches import StepBatches
from retrieval.models.backbones import build_encoder
from retrieval.models.export import save_sentence_transformer
from retrieval.training.module import RetrievalModule, learning_rates
from retrieval.training.strategies import build_strategy
from retrieval.training.strategies.base import Setting, TrainingData

WARM_STEPS = 2


class StepClock:
    """Times of step ends; the first few steps do not count."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def tick(self) -> None:
        """A step has ended."""
        self.times.append(time.perf_counter())

    def pairs_per_second(self, batch: int = BATCH) -> float:
        """Over all steps after the warm-up."""
        steps = len(self.times) - 1 - WARM_STEPS
        return batch * steps / (self.times[-1] - self.times[WARM_STEPS])


class _Lightning(pl.Callback):
    def __init__(self, clock: StepClock) -> None:
        self.clock = clock

    def on_train_batch_end(self, *_: Any) -> None:
        self.clock.tick()


class _Transformers(TrainerCallback):
    def __init__(self, clock: StepClock) -> None:
        self.clock = clock

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.clock.tick()


def ours(
    size: str, steps: int, dropout: float, precision: str, batch: int = BATCH, mini: int | None = None
) -> float:
    """Pairs per second of our trainer; ``mini``: texts encoded at a time (gradient caching)."""
    total = steps + WARM_STEPS + 1
    pairs = training_pairs(batch * total)
    model, train = model_config(size, dropout), TrainConfig(steps=total, batch_size=batch)
    encoder = build_encoder(model, tokenizer(), 1, precision)
    encoder.mini_batch_size = mini
    strategy = build_strategy(StrategyConfig(), Setting(seed=1, tokenizer=tokenizer()))
    module = RetrievalModule(encoder, strategy, train, learning_rates(train, model), 1)
    clock = StepClock()
    trainer = pl.Trainer(
        max_steps=total,
        accelerator="cpu",
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[_Lightning(clock)],
    )
    streams = strategy.streams(TrainingData(pairs), batch)
    trainer.fit(module, DataLoader(StepBatches(streams, 1, 0, total), batch_size=None))
    return clock.pairs_per_second(batch)


def sentence_transformers(
    size: str, steps: int, dropout: float, bf16: bool, batch: int = BATCH, mini: int | None = None
) -> float:
    """Pairs per second of ``SentenceTransformerTrainer`` with MultipleNegativesRankingLoss.

    ``mini``: texts encoded at a time by CachedMultipleNegativesRankingLoss in its place.
    """
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import (
        CachedMultipleNegativesRankingLoss,
        MultipleNegativesRankingLoss,
    )

    total = steps + WARM_STEPS + 1
    data = texts(batch * total)
    with tempfile.TemporaryDirectory() as folder:
        encoder = build_encoder(model_config(size, dropout), tokenizer(), 1, "32")
        save_sentence_transformer(encoder, tokenizer(), 32, 128, Path(folder) / "model")
        model = SentenceTransformer(str(Path(folder) / "model"), device="cpu")
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
        clock = StepClock()
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            max_steps=total,
            per_device_train_batch_size=batch,
            bf16=bf16,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        trainer = SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict({"query": data.queries, "passage": data.passages}),
            loss=(
                CachedMultipleNegativesRankingLoss(model, mini_batch_size=mini)
                if mini
                else MultipleNegativesRankingLoss(model)
            ),
            callbacks=[_Transformers(clock)],
        )
        trainer.train()
    return clock.pairs_per_second(batch)


Contestant = Callable[[str, int], float]

CONTESTANTS: dict[str, Contestant] = {
    "sentence-transformers fp32, dropout .1": lambda size, steps: sentence_transformers(
        size, steps, 0.1, False
    ),
    "sentence-transformers bf16, dropout .1": lambda size, steps: sentence_transformers(
        size, steps, 0.1, True
    ),
    "ours bf16, dropout .1": lambda size, steps: ours(size, steps, 0.1, "bf16"),
    "sentence-transformers fp32, dropout 0": lambda size, steps: sentence_transformers(
        size, steps, 0.0, False
    ),
    "ours bf16, dropout 0": lambda size, steps: ours(size, steps, 0.0, "bf16"),
}
