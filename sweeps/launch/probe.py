"""A few training steps and encodings of small models on this machine: how far off the estimates are here."""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

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

LOOK_SECONDS = 0.2

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
    """Compare this machine with its estimates; some three seconds, then from the cache.

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
        return Calibration([_probe(hidden, chosen, many) for hidden in calibration.WIDTHS])
    finally:
        torch.set_num_threads(threads)


def _measure_gpu(config: DictConfig) -> Calibration:
    device = torch.device("cuda", 0)
    chosen = _precision(config, device)
    points = [_probe_gpu(hidden, chosen, device) for hidden in calibration.WIDTHS]
    return Calibration(points, torch.cuda.get_device_properties(device).total_memory)


def _precision(config: DictConfig, device: torch.device) -> str:
    return hardware.choose_precision(str(config.train.precision), device, Path(config.cache))


def _probe(hidden: int, precision: str, threads: int) -> Point:
    cell = _cell(hidden, precision)
    expected = estimate(cell, contents=_contents(hidden))
    trained, encoded, exponent = _measure(_work(cell, precision, torch.device("cpu")), threads)
    return Point(hidden, trained / expected.train, encoded / (expected.evaluate - START_SECONDS), exponent)


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


def _measure(work: _Work, threads: int) -> tuple[float, float, float | None]:
    """Seconds of a training step, and of encoding its batch, on one thread; exponent of the speed-up."""
    torch.set_num_threads(1)
    trained, alone = _seconds(work.step)
    exponent = None
    if threads > 1:
        torch.set_num_threads(threads)
        _, together = _seconds(work.step, warm=True)
        torch.set_num_threads(1)
        if alone < DISTURBED * trained:
            exponent = min(1.0, max(0.0, math.log(alone / together) / math.log(threads)))
    return trained, _seconds(work.encode)[0], exponent


def _seconds(work: Callable[[], Any], warm: bool = False) -> tuple[float, float]:
    """Least processor time of a few calls, to which others on the machine do not add, and least time.

    ``warm``: all has been called before, with other threads, so that the second call is fast already.
    """
    if not warm:
        work()
    taken, passed = [], []
    for _ in range(calibration.STEPS):
        begun, start = time.perf_counter(), time.process_time()
        work()
        taken.append(time.process_time() - start)
        passed.append(time.perf_counter() - begun)
        if len(passed) > warm and sum(passed) > calibration.ENOUGH_SECONDS:
            break
    return min(taken), min(passed)


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
