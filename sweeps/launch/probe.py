"""A few training steps and encodings of small models on this machine: how far off the estimates are here."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

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
from sweeps.launch import calibration
from sweeps.launch.calibration import (
    Calibration,
    Point,
    calibration_folder,
    known_calibration,
    pairs_of,
    write_calibration,
)
from sweeps.launch.need import START_SECONDS, estimate
from sweeps.launch.workload import Contents

LENGTHS = (13, 36)
"""Tokens of a query and of a passage."""

BUSY = 0.25
"""Share of the cores that others may use while speed-ups by threads are measured."""

LOOK_SECONDS = 0.1

GPU_CALLS = 10
"""Calls before the clock starts, and calls that it counts, on a GPU."""

DISTURBED = 1.2
"""Time over processor time of one thread beyond which others have taken the core in between."""


@dataclass(frozen=True)
class StandInTokenizer:
    """What building an encoder asks of a tokenizer."""

    pad_token_id: int = 0

    def __len__(self) -> int:
        return calibration.VOCABULARY


def calibrate(config: DictConfig) -> Calibration:
    """Compare this machine with its estimates; less than four seconds, then from the cache.

    Cached where :func:`sweeps.launch.calibration.calibration_folder` says; findings of a machine that others
    keep busy are not kept, because they lack the speed-up by threads.

    ``config``: ``cache`` and ``train.precision`` are read.
    """
    return _found_once(config, _measure_cores, gpu=False)


def calibrate_gpu(config: DictConfig) -> Calibration:
    """The same of the first GPU that is visible: how fast it trains, and how much of a step it computes."""
    return _found_once(config, _measure_gpu, gpu=True)


class _Busy(Exception):
    """Others use the machine."""


def _found_once(config: DictConfig, measured: Callable[[DictConfig], Calibration], gpu: bool) -> Calibration:
    quiet()
    found = known_calibration(config, gpu)
    if found is not None:
        return found
    made: list[Calibration] = []

    def build(into: Path) -> None:
        made.append(measured(config))
        if not gpu and any(point.exponent is None for point in made[0].points):
            raise _Busy
        write_calibration(made[0], into)

    with suppress(_Busy):
        build_once(calibration_folder(config, gpu), build, describe="the probe of this machine")
    return known_calibration(config, gpu) or made[0]


def _measure_cores(config: DictConfig) -> Calibration:
    chosen = _precision(config, torch.device("cpu"))
    threads = torch.get_num_threads()
    psutil.cpu_percent()
    time.sleep(LOOK_SECONDS)
    many = calibration.probed_threads() if psutil.cpu_percent() <= 100 * BUSY else 1
    try:
        return Calibration(_probe_cores(chosen, many))
    finally:
        torch.set_num_threads(threads)


def _measure_gpu(config: DictConfig) -> Calibration:
    device = torch.device("cuda", 0)
    chosen = _precision(config, device)
    points = [_probe_gpu(hidden, chosen, device) for hidden in calibration.WIDTHS]
    return Calibration(points, torch.cuda.get_device_properties(device).total_memory)


def _precision(config: DictConfig, device: torch.device) -> str:
    return hardware.choose_precision(str(config.train.precision), device, Path(config.cache))


def _probe_cores(precision: str, threads: int) -> list[Point]:
    """All widths in turn, again and again: what disturbs the machine for a second spoils no width alone."""
    trials = [_Trial(hidden, precision) for hidden in calibration.WIDTHS]
    rounds = {1: calibration.ROUNDS} | ({threads: calibration.ROUNDS_TOGETHER} if threads > 1 else {})
    for count, times in rounds.items():
        torch.set_num_threads(count)
        for _ in range(1 + times):
            for trial in trials:
                trial.time(count)
    return [trial.point(threads) for trial in trials]


def _probe_gpu(hidden: int, precision: str, device: torch.device) -> Point:
    cell = _cell(hidden, precision)
    expected = estimate(cell, gpu=True, contents=_contents(hidden))
    work = _work(cell, precision, device)
    trained, busy = _on_gpu(work.step)
    encoded, _ = _on_gpu(work.encode)
    return Point(hidden, trained / expected.train, encoded / (expected.evaluate - START_SECONDS), busy=busy)


def _cell(hidden: int, precision: str) -> DictConfig:
    model = ModelConfig(layers=calibration.LAYERS, hidden=hidden, init="scratch")
    train = TrainConfig(steps=1, batch_size=pairs_of(hidden), precision=precision)
    return OmegaConf.create(
        {
            "model": OmegaConf.structured(model),
            "strategy": OmegaConf.structured(StrategyConfig()),
            "train": OmegaConf.structured(train),
            "eval": OmegaConf.structured(EvalConfig(name="quick")),
            "trainer": OmegaConf.structured(TrainerConfig()),
        }
    )


def _contents(hidden: int) -> Contents:
    query, passage = LENGTHS
    pairs = pairs_of(hidden)
    return Contents(query, query**2, passage, passage**2, pairs, pairs, calibration.VOCABULARY)


@dataclass(frozen=True)
class _Work:
    """What is timed."""

    step: Callable[[], None]
    """A training step."""
    encode: Callable[[], None]
    """Encoding its batch."""


def _work(cell: DictConfig, precision: str, device: torch.device) -> _Work:
    model, train = cast(ModelConfig, cell.model), cast(TrainConfig, cell.train)
    encoder = build_scorer(model, StandInTokenizer(), 0, precision).to(device)
    objective = build_objective(StrategyConfig(), Setting(0, None))
    module = RetrievalModule(encoder, objective, train, learning_rates(train, model), 0)
    optimizer = module.configure_optimizers()["optimizer"]
    pairs = train.batch_size
    own = torch.zeros(pairs, pairs, dtype=torch.bool)
    block = RankingBlock(slice(0, pairs), slice(pairs, 2 * pairs), torch.arange(pairs), own)
    tokens = _tokens(pairs)
    sizes = tokens.sizes[tokens.inverse.numpy()]
    batch = Batch(0, tokens, sizes, {IN_DOMAIN: block}, pairs).to(device)

    def step() -> None:
        encoder.train()
        optimizer.zero_grad()
        module.backward(module.training_step(batch, 0))
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), train.clip)
        optimizer.step()

    @torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
    def encode() -> None:
        encoder.eval()
        encoder(batch.tokens)

    return _Work(step, encode)


class _Trial:
    """Timed calls of one width on cores; the first step on so many threads warms up and does not count."""

    def __init__(self, hidden: int, precision: str) -> None:
        self.hidden = hidden
        cell = _cell(hidden, precision)
        self.expected = estimate(cell, contents=_contents(hidden))
        self.work = _work(cell, precision, torch.device("cpu"))
        self.steps: dict[int, list[_Times]] = {}
        self.encodings: list[_Times] = []

    def time(self, threads: int) -> None:
        """A training step on so many threads, and where that is one and warm, an encoding of its batch."""
        steps = self.steps.setdefault(threads, [])
        steps.append(_timed(self.work.step))
        if threads == 1 and len(steps) > 1:
            self.encodings.append(_timed(self.work.encode))

    def point(self, threads: int) -> Point:
        """What the least times say; ``threads``: those beside one on which steps were timed."""
        trained, encoded = _least(self.steps[1][1:]), _least(self.encodings)
        exponent = None
        if threads > 1 and trained.passed < DISTURBED * trained.taken:
            faster = trained.passed / _least(self.steps[threads][1:]).passed
            exponent = min(1.0, max(0.0, math.log(faster) / math.log(threads)))
        expected = self.expected
        measuring = expected.evaluate - START_SECONDS
        return Point(self.hidden, trained.taken / expected.train, encoded.taken / measuring, exponent)


class _Times(NamedTuple):
    """Seconds of a call."""

    taken: float
    """Of the processor, to which others on the machine do not add."""
    passed: float
    """By the clock."""


def _timed(work: Callable[[], Any]) -> _Times:
    begun, start = time.perf_counter(), time.process_time()
    work()
    return _Times(time.process_time() - start, time.perf_counter() - begun)


def _least(times: Sequence[_Times]) -> _Times:
    """The least of each."""
    taken, passed = zip(*times, strict=True)
    return _Times(min(taken), min(passed))


def _on_gpu(work: Callable[[], Any]) -> tuple[float, float | None]:
    """Seconds of a call, and the share of them in which the GPU computes, at most 1.

    The share is ``None`` where PyTorch cannot time kernels here.
    """
    for _ in range(GPU_CALLS):
        work()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(GPU_CALLS):
        work()
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / GPU_CALLS
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities, acc_events=True) as profiler:
        work()
        torch.cuda.synchronize()
    computed = sum(event.self_device_time_total for event in profiler.key_averages()) * 1e-6
    return seconds, min(1.0, computed / seconds) if computed else None


def _tokens(pairs: int) -> TokenBatch:
    lengths = np.repeat(LENGTHS, pairs)
    ids = np.random.default_rng(0).integers(5, calibration.VOCABULARY, int(lengths.sum()))
    return group_tokens(ids, lengths)
