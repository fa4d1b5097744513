"""Self-mining: hard negatives mined anew with the model in training (ANCE, arXiv 2007.00808)."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from retrieval.data.cache import build_once, is_complete
from retrieval.data.negatives import LAG, HardNegatives, NegativeLists
from retrieval.errors import TrainingError
from retrieval.models.scorer import Scorer
from retrieval.search.denoising import judge, write_denoised
from retrieval.search.mining import SURPLUS, search, write_lists
from retrieval.search.retriever import ScorerRetriever
from retrieval.training.module import RetrievalModule
from retrieval.training.prepared import PreparedData
from retrieval.training.strategy import strategy_of

CHECKPOINTS = 3
"""Checkpoints whose negatives are kept: the two on disk, and the one being written."""


class RefreshCallback(pl.Callback):
    """After every ``refresh`` steps replaces the negatives by those that the model itself ranks highest.

    A resumed run draws what the uninterrupted one does: refreshed lists are kept in the run directory as
    long as a checkpoint may need them. Comes before the callback that writes checkpoints.
    """

    def __init__(self, data: PreparedData, negatives: HardNegatives, folder: Path, start: int) -> None:
        """``folder``: for the lists; ``start``: steps that the checkpoint resumed from has done, else 0."""
        self.data, self.negatives = data, negatives
        self.folder = folder
        self.start = self.step = start
        self.checkpoints: list[int] = []
        """Steps of the latest checkpoints, oldest first."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring back the lists that the checkpoint's next batches are drawn from."""
        if self.start == 0 or self.start >= trainer.max_steps:
            self._remove(trainer)
            return
        generation = self.negatives.generation(self.start)
        if generation > 0:
            self._load(generation)
        self._refresh(self.start, trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Mine when it is due."""
        self.step = trainer.global_step
        self._refresh(self.step, trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the lists of a training that is complete."""
        if trainer.global_step >= trainer.max_steps:
            self._remove(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Called for each checkpoint; which steps have one decides which lists are kept."""
        self.checkpoints = [*(step for step in self.checkpoints if step != self.step), self.step]
        self.checkpoints = self.checkpoints[-CHECKPOINTS:]
        return {"checkpoints": self.checkpoints, "counts": self.negatives.counts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Know the earlier checkpoints of a resumed run, and what the newest lists counted."""
        self.checkpoints = list(state_dict["checkpoints"])
        self.negatives.counts = dict(state_dict["counts"])

    def mine(self, encoder: Scorer, folder: Path, step: int) -> None:
        """Write the lists of the encoder after ``step`` steps into an existing folder, denoised if asked."""
        collection, strategy = self.data.in_domain, self.data.config.strategy
        query_rows, depth = np.asarray(self.negatives.query_rows), self.negatives.depth
        relevance = self.negatives.relevance
        denoised = strategy_of(strategy).denoised
        mined = folder / "mined" if denoised else folder
        mined.mkdir(exist_ok=True)
        retriever = ScorerRetriever(encoder, self.data.store)
        found = search(retriever, collection, query_rows, depth + min(relevance.most, SURPLUS))
        about = {"source": f"the model after {step} steps"}
        write_lists(mined, query_rows, found, relevance, depth, about)
        if denoised:
            lists = NegativeLists.open(mined)
            judge(lists, collection, strategy.denoise.teacher, mined, Path(self.data.config.cache))
            write_denoised(lists, mined, strategy.denoise, folder)
            del lists
            shutil.rmtree(mined)

    def _remove(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _refresh(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Mine with the model after ``step`` steps, if lists are due and a batch is left to use them."""
        assert isinstance(pl_module, RetrievalModule)
        if step % self.negatives.refresh or step + LAG >= trainer.max_steps:
            return
        encoder = pl_module.encoder
        self.folder.mkdir(parents=True, exist_ok=True)
        build_once(
            self._place(step),
            lambda target: self.mine(encoder, target, step),
            describe=f"hard negatives after {step} steps",
        )
        self._load(step // self.negatives.refresh)
        if trainer.is_global_zero:
            self._prune(step)

    def _load(self, generation: int) -> None:
        place = self._place(generation * self.negatives.refresh)
        if not is_complete(place):
            raise TrainingError(
                "NEGATIVES_MISSING",
                f"{place}: the negatives that this run was drawing from are gone, so it cannot be resumed",
            )
        self.negatives.use(generation, NegativeLists.open(place))

    def _prune(self, step: int) -> None:
        """Remove the lists that neither the next batches nor a resume from a checkpoint draws from."""
        needed = {self.negatives.generation(after) for after in (*self.checkpoints, step, step + LAG)}
        kept = {str(generation * self.negatives.refresh) for generation in needed}
        for place in self.folder.iterdir():
            name = place.name.removesuffix(".lock")
            if name.isdigit() and name not in kept:
                shutil.rmtree(place) if place.is_dir() else place.unlink()

    def _place(self, step: int) -> Path:
        return self.folder / str(step)
