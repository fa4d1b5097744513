"""Trainings of sentence-transformers, whatever the kind of its model: one clock, one set of arguments."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from benchmarks.work import BATCH, PASSAGE_LENGTH, QUERY_LENGTH, texts, tokenizer
from retrieval.config import ModelConfig
from retrieval.models.families import build_scorer


@dataclass(frozen=True)
class Effort:
    """Steps before the clock starts, and steps it counts."""

    warm: int
    timed: int

    @property
    def total(self) -> int:
        """All steps of a training."""
        return self.warm + self.timed

    @property
    def quick(self) -> Effort:
        """A third of it: the heap may still grow a little."""
        return Effort(max(1, self.warm // 3), max(2, self.timed // 3))


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


class Ticking(TrainerCallback):
    """Tells a clock that a step of transformers' trainer has ended."""

    def __init__(self, clock: StepClock) -> None:
        self.clock = clock

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.clock.tick()


@dataclass(frozen=True)
class Kind:
    """A kind of model in sentence-transformers; classes are looked up when they are used."""

    model: str
    """Name of the class in ``sentence_transformers``; its trainer and arguments are called after it."""
    loss: Callable[[Any], Any]
    """Of a model, its loss."""


def pairs_per_second(
    kind: Kind, config: ModelConfig, steps: Effort, bf16: bool, device: str = "cpu", batch: int = BATCH
) -> float:
    """Pairs per second of the library's trainer on the model that ``config`` makes.

    Our export of the model is what the library loads; its dropout is set to that of ``config``.
    """
    import sentence_transformers as library
    from datasets import Dataset

    data = texts(batch * steps.total)
    with tempfile.TemporaryDirectory() as folder:
        scorer = build_scorer(config, tokenizer(), 1, "32")
        scorer.know(tokenizer())
        scorer.export(tokenizer(), (QUERY_LENGTH, PASSAGE_LENGTH), Path(folder) / "model")
        model = getattr(library, kind.model)(str(Path(folder) / "model"), device=device)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = config.dropout
        clock = StepClock(steps, device)
        arguments = getattr(library, f"{kind.model}TrainingArguments")(
            output_dir=folder,
            max_steps=steps.total,
            per_device_train_batch_size=batch,
            bf16=bf16,
            use_cpu=device == "cpu",
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        trainer = getattr(library, f"{kind.model}Trainer")(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict({"query": data.queries, "passage": data.passages}),
            loss=kind.loss(model),
            callbacks=[Ticking(clock)],
        )
        trainer.train()
    return clock.pairs_per_second(batch)
