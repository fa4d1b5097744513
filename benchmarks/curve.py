"""``python -m benchmarks.curve``: the loss of bf16 over the grouped layout against plain fp32 with padding.

Same pairs, same initial weights, same batches: once with all that makes training fast, once through the
backbone's own forward pass in fp32. Compares the mean training loss of the last 50 of 300 steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra import compose, initialize_config_dir
from torch.utils.data import DataLoader

from retrieval.config import Config, register_schema
from retrieval.config.validation import validate
from retrieval.data.batches import Steps
from retrieval.models.families import build_scorer
from retrieval.run.hardware import quiet
from retrieval.training.module import RetrievalModule, learning_rates
from retrieval.training.objective import Setting, build_objective
from retrieval.training.prepared import PreparedData, prepare
from retrieval.training.sampling import Sampler

CONF = Path(__file__).resolve().parents[1] / "conf"
LAST = 50


class _Losses(pl.Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, RetrievalModule)
        assert module.last is not None
        self.values.append(float(module.last.total))


def losses(cell: Config, data: PreparedData, seed: int, fast: bool) -> list[float]:
    """Training loss of every step."""
    encoder = build_scorer(cell.model, data.tokenizer, seed, "bf16" if fast else "32")
    encoder.packed = fast
    objective = build_objective(cell.strategy, Setting(seed, data.tokenizer))
    sampler = Sampler(objective, data.training(), cell.train.batch_size, seed)
    rates = learning_rates(cell.train, cell.model)
    module = RetrievalModule(encoder, objective, cell.train, rates, seed, sampler)
    record = _Losses()
    trainer = pl.Trainer(
        max_steps=cell.train.steps,
        accelerator="cpu",
        gradient_clip_val=cell.train.clip,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[record],
    )
    trainer.fit(module, DataLoader(Steps(0, cell.train.steps), batch_size=None))
    return record.values


def main() -> None:
    """Train each seed both ways and write the means of the last steps."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curve", description=__doc__)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/curve.json"))
    parser.add_argument("overrides", nargs="*", help="of train.py")
    chosen = parser.parse_args()
    quiet()
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["model=bert-tiny", "train.steps=300", *chosen.overrides]
        cell = validate(compose("config", overrides))
    data = prepare(cell)
    rows = []
    for seed in map(int, chosen.seeds.split(",")):
        ours, plain = (statistics.mean(losses(cell, data, seed, fast)[-LAST:]) for fast in (True, False))
        rows.append({"seed": seed, "bf16": ours, "plain_fp32": plain, "relative": ours / plain - 1})
        print(rows[-1], flush=True)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps({"overrides": overrides, "last": LAST, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
