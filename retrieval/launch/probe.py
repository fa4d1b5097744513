"""A few training steps and encodings of small models on this machine: how far off the estimates are here."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

import retrieval
from retrieval import hardware
from retrieval.config import EvalConfig, ModelConfig, StrategyConfig, TrainConfig, TrainerConfig
from retrieval.data.batches import Batch, RankingBlock
from retrieval.data.cache import digest, write_atomic
from retrieval.launch.estimate import START_SECONDS, estimate
from retrieval.launch.machines import Calibration, Point
from retrieval.launch.workload import Contents
from retrieval.manifest import cpu_model
from retrieval.models.backbones import build_encoder
from retrieval.models.layout import TokenBatch, group_tokens
from retrieval.training.module import RetrievalModule, learning_rates
from retrieval.training.strategies import build_strategy
from retrieval.training.strategies.base import IN_DOMAIN, Setting

WIDTHS = (128, 256, 512)
LAYERS, PAIRS, STEPS, VOCABULARY = 2, 64, 4, 16384
LENGTHS = (13, 36)
"""Tokens of a query and of a passage."""


@dataclass(frozen=True)
class _Tokenizer:
    """What building an encoder asks of a tokenizer."""

    pad_token_id: int = 0

    def __len__(self) -> int:
        return VOCABULARY


def calibrate(cache: Path, precision: str = "auto") -> Calibration:
    """Compare this machine with its estimates; a few seconds, then from the cache.

    Measured on one thread. Cached per processor, PyTorch, precision, and the code that trains.
    """
    chosen = hardware.choose_precision(precision, torch.device("cpu"))
    about = [cpu_model(), torch.__version__, chosen, _code(), WIDTHS, LAYERS, PAIRS, STEPS]
    path = cache / "machine" / f"probe-{digest(about)[:16]}.json"
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))["points"]
        return Calibration([Point(**point) for point in found])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        points = [_probe(hidden, chosen) for hidden in WIDTHS]
    finally:
        torch.set_num_threads(threads)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps({"points": [asdict(point) for point in points]}))
    return Calibration(points)


def _probe(hidden: int, precision: str) -> Point:
    model = ModelConfig(layers=LAYERS, hidden=hidden, init="scratch")
    train = TrainConfig(steps=1, batch_size=PAIRS, precision=precision)
    query, passage = LENGTHS
    contents = Contents(query, query**2, passage, passage**2, PAIRS, PAIRS, VOCABULARY)
    config = OmegaConf.create(
        {
            "model": OmegaConf.structured(model),
            "strategy": OmegaConf.structured(StrategyConfig()),
            "train": OmegaConf.structured(train),
            "eval": OmegaConf.structured(EvalConfig(name="quick")),
            "trainer": OmegaConf.structured(TrainerConfig()),
        }
    )
    expected = estimate(config, contents=contents)
    trained, encoded = _measure(model, train, precision)
    return Point(hidden, trained / expected.train, encoded / (expected.evaluate - START_SECONDS))


def _measure(model: ModelConfig, train: TrainConfig, precision: str) -> tuple[float, float]:
    """Seconds of a training step, and of encoding its batch."""
    encoder = build_encoder(model, _Tokenizer(), 0, precision)
    strategy = build_strategy(StrategyConfig(), Setting(0, None))
    module = RetrievalModule(encoder, strategy, train, learning_rates(train, model), 0)
    optimizer = module.configure_optimizers()["optimizer"]
    batch = Batch(0, _tokens(), {IN_DOMAIN: _block()}, PAIRS)

    def step() -> None:
        optimizer.zero_grad()
        module.backward(module.training_step(batch, 0))
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), train.clip)
        optimizer.step()

    @torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
    def encode() -> None:
        encoder(batch.tokens)

    trained = _seconds(step)
    encoder.eval()
    return trained, _seconds(encode)


def _seconds(work: Callable[[], Any]) -> float:
    """Least processor time of a few calls: what else runs on the machine does not count."""
    work()
    taken = []
    for _ in range(STEPS):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def _tokens() -> TokenBatch:
    lengths = np.repeat(LENGTHS, PAIRS)
    ids = np.random.default_rng(0).integers(5, VOCABULARY, int(lengths.sum()))
    return group_tokens(ids, lengths)


def _block() -> RankingBlock:
    return RankingBlock(
        slice(0, PAIRS),
        slice(PAIRS, 2 * PAIRS),
        torch.arange(PAIRS),
        torch.zeros(PAIRS, PAIRS, dtype=torch.bool),
    )


def _code() -> str:
    """Digest of the code whose speed is measured."""
    root = Path(retrieval.__file__).parent
    files = sorted(path for part in ("models", "training") for path in (root / part).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
