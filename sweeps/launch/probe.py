"""A few training steps and encodings of small models on this machine: how far off the estimates are here."""

import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from omegaconf import DictConfig, OmegaConf

from retrieval.config import EvalConfig, ModelConfig, StrategyConfig, TrainConfig, TrainerConfig
from retrieval.data.batches import Batch, RankingBlock
from retrieval.data.cache import build_once
from retrieval.data.layout import TokenBatch, group_tokens
from retrieval.models.families import build_scorer
from retrieval.run import hardware
from retrieval.run.hardware import quiet
from retrieval.training.module import RetrievalModule, learning_rates
from retrieval.training.objective import Setting, build_objective
from retrieval.training.strategy import IN_DOMAIN
from sweeps.launch import need
from sweeps.launch.need import PAIRS, START_SECONDS, Calibration, Point, estimate
from sweeps.launch.workload import Contents

LENGTHS = (13, 36)
"""Tokens of a query and of a passage."""

BUSY = 0.25
"""Share of the cores that others may use while speed-ups by threads are measured."""

LOOK_SECONDS = 0.2

DISTURBED = 1.2
"""Time over processor time of one thread beyond which others have taken the core in between."""


@dataclass(frozen=True)
class _Tokenizer:
    """What building an encoder asks of a tokenizer."""

    pad_token_id: int = 0

    def __len__(self) -> int:
        return need.VOCABULARY


def calibrate(config: DictConfig) -> Calibration:
    """Compare this machine with its estimates; a few seconds, then from the cache.

    Cached per processor, number of cores, PyTorch, precision, and the code that trains; findings of a machine
    that others keep busy are not kept, because they lack the speed-up by threads.

    ``config``: ``cache`` and ``train.precision`` are read.
    """
    quiet()
    found = need.known_calibration(config)
    if found is not None:
        return found
    made: list[Calibration] = []

    def build(into: Path) -> None:
        made.append(_measure_all(str(config.train.precision)))
        points = [asdict(point) for point in made[0].points]
        if any(point["exponent"] is None for point in points):
            raise _Busy
        (into / need.POINTS).write_text(json.dumps(points), encoding="utf-8")

    with suppress(_Busy):
        build_once(need.calibration_folder(config), build, describe="the probe of this machine")
    return need.known_calibration(config) or made[0]


class _Busy(Exception):
    """Others use the machine."""


def _measure_all(precision: str) -> Calibration:
    chosen = hardware.choose_precision(precision, torch.device("cpu"))
    threads = torch.get_num_threads()
    psutil.cpu_percent()
    time.sleep(LOOK_SECONDS)
    many = need.probed_threads() if psutil.cpu_percent() <= 100 * BUSY else 1
    try:
        return Calibration([_probe(hidden, chosen, many) for hidden in need.WIDTHS])
    finally:
        torch.set_num_threads(threads)


def _probe(hidden: int, precision: str, threads: int) -> Point:
    model = ModelConfig(layers=need.LAYERS, hidden=hidden, init="scratch")
    train = TrainConfig(steps=1, batch_size=PAIRS, precision=precision)
    query, passage = LENGTHS
    contents = Contents(query, query**2, passage, passage**2, PAIRS, PAIRS, need.VOCABULARY)
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
    trained, encoded, exponent = _measure(model, train, precision, threads)
    return Point(hidden, trained / expected.train, encoded / (expected.evaluate - START_SECONDS), exponent)


def _measure(
    model: ModelConfig, train: TrainConfig, precision: str, threads: int
) -> tuple[float, float, float | None]:
    """Seconds of a training step, and of encoding its batch, on one thread; exponent of the speed-up."""
    torch.set_num_threads(1)
    encoder = build_scorer(model, _Tokenizer(), 0, precision)
    objective = build_objective(StrategyConfig(), Setting(0, None))
    module = RetrievalModule(encoder, objective, train, learning_rates(train, model), 0)
    optimizer = module.configure_optimizers()["optimizer"]
    own = torch.zeros(PAIRS, PAIRS, dtype=torch.bool)
    block = RankingBlock(slice(0, PAIRS), slice(PAIRS, 2 * PAIRS), torch.arange(PAIRS), own)
    tokens = _tokens()
    sizes = tokens.sizes[tokens.inverse.numpy()]
    batch = Batch(0, tokens, sizes, {IN_DOMAIN: block}, PAIRS)

    def step() -> None:
        optimizer.zero_grad()
        module.backward(module.training_step(batch, 0))
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), train.clip)
        optimizer.step()

    @torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
    def encode() -> None:
        encoder(batch.tokens)

    trained, alone = _seconds(step)
    exponent = None
    if threads > 1:
        torch.set_num_threads(threads)
        _, together = _seconds(step)
        torch.set_num_threads(1)
        if alone < DISTURBED * trained:
            exponent = min(1.0, max(0.0, math.log(alone / together) / math.log(threads)))
    encoder.eval()
    return trained, _seconds(encode)[0], exponent


def _seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Least processor time of a few calls, to which others on the machine do not add, and least time."""
    work()
    taken, passed = [], []
    for _ in range(need.STEPS):
        begun, start = time.perf_counter(), time.process_time()
        work()
        taken.append(time.process_time() - start)
        passed.append(time.perf_counter() - begun)
    return min(taken), min(passed)


def _tokens() -> TokenBatch:
    lengths = np.repeat(LENGTHS, PAIRS)
    ids = np.random.default_rng(0).integers(5, need.VOCABULARY, int(lengths.sum()))
    return group_tokens(ids, lengths)
