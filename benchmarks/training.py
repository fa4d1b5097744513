"""Training pairs per second: our trainer against sentence-transformers' on the same pairs and shapes."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from benchmarks.work import BATCH, model_config, texts, tokenizer, training_pairs
from retrieval.config import ModelConfig, StrategyConfig, TrainConfig
from retrieval.data.batches import Steps
from retrieval.models.families import build_scorer
from retrieval.training.memory import HeapCallback
from retrieval.training.module import RetrievalModule, learning_rates
from retrieval.training.objective import Setting, build_objective
from retrieval.training.sampling import Sampler
from retrieval.training.streams import TrainingData


@dataclass(frozen=True)
class Effort:
    """Steps before the clock starts, and steps it counts."""

    warm: int
    timed: int

    @property
    def total(self) -> int:
        """All steps of a training."""
        return self.warm + self.timed


CPU_EFFORT = {
    "tiny": Effort(40, 40),
    "mini": Effort(24, 16),
    "small": Effort(4, 6),
    "medium": Effort(3, 3),
    "base": Effort(2, 3),
}
"""The small ones until the heap has stopped to grow, which slows down both sides (ours by 4-15 % of what it
does afterwards); a step of sentence-transformers at bert-base takes about half a minute on two cores."""
GPU_EFFORT = Effort(20, 60)


def effort(size: str, device: str) -> Effort:
    """How long a contestant trains."""
    return CPU_EFFORT[size] if device == "cpu" else GPU_EFFORT


class StepClock:
    """Runs from the end of the last warm-up step to that of the last step."""

    def __init__(self, effort: Effort, device: str) -> None:
        self.effort, self.device = effort, device
        self.ticks = 0
        self.started = self.stopped = 0.0

    def tick(self) -> None:
        """A step has ended; a GPU is waited for at the two ends only."""
        self.ticks += 1
        if self.ticks in (self.effort.warm, self.effort.total):
            if self.device == "cuda":
                torch.cuda.synchronize()
            self.started, self.stopped = self.stopped, time.perf_counter()

    def pairs_per_second(self, batch: int = BATCH) -> float:
        """Over the counted steps."""
        return batch * self.effort.timed / (self.stopped - self.started)


class _Lightning(pl.Callback):
    def __init__(self, clock: StepClock) -> None:
        self.clock = clock

    def on_train_batch_end(self, *_: Any) -> None:
        self.clock.tick()


class Ticking(TrainerCallback):
    """Tells a clock that a step of transformers' trainer has ended."""

    def __init__(self, clock: StepClock) -> None:
        self.clock = clock

    def on_step_end(self, *_: Any, **__: Any) -> None:
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
) -> float:
    """Pairs per second of our trainer; ``mini``: texts encoded at a time (gradient caching)."""
    steps = steps or effort(size, device)
    total = steps.total
    pairs = training_pairs(batch * total)
    model, train = model or model_config(size, dropout), TrainConfig(steps=total, batch_size=batch)
    encoder = build_scorer(model, tokenizer(), 1, precision)
    encoder.mini_batch_size = mini
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
        callbacks=[_Lightning(clock), HeapCallback()],
    )
    trainer.fit(module, DataLoader(Steps(0, total), batch_size=None))
    return clock.pairs_per_second(batch)


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

    steps = steps or effort(size, device)
    total = steps.total
    data = texts(batch * total)
    with tempfile.TemporaryDirectory() as folder:
        encoder = build_scorer(model_config(size, dropout), tokenizer(), 1, "32")
        encoder.export(tokenizer(), (32, 128), Path(folder) / "model")
        model = SentenceTransformer(str(Path(folder) / "model"), device=device)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
        clock = StepClock(steps, device)
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            max_steps=total,
            per_device_train_batch_size=batch,
            bf16=bf16,
            use_cpu=device == "cpu",
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
            callbacks=[Ticking(clock)],
        )
        trainer.train()
    return clock.pairs_per_second(batch)


Contestant = Callable[[str, str], float]
"""(size, device) -> pairs per second."""

CONTESTANTS: dict[float, dict[str, Contestant]] = {
    0.1: {
        "sentence-transformers fp32": lambda size, device: sentence_transformers(size, 0.1, False, device),
        "sentence-transformers bf16": lambda size, device: sentence_transformers(size, 0.1, True, device),
        "ours bf16": lambda size, device: ours(size, 0.1, "bf16", device),
    },
    0.0: {
        "sentence-transformers fp32": lambda size, device: sentence_transformers(size, 0.0, False, device),
        "ours bf16": lambda size, device: ours(size, 0.0, "bf16", device),
    },
}
"""By dropout, the same on all sides."""


def synchronisations(size: str) -> float:
    """Times a step of our trainer makes the host wait for the GPU, counted by PyTorch's own check."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ours(size, 0.1, "bf16", "cuda", steps=GPU_EFFORT)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    found = [warning for warning in caught if "synchroniz" in str(warning.message)]
    return len(found) / GPU_EFFORT.total
