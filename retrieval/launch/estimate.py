"""What a cell costs, from its configuration alone: the basis of slots, order and the first time left.

Rough by design (a factor of two): the scheduler corrects it by what running cells report.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from retrieval.config import ModelConfig

FILL = {"query": 0.4, "passage": 0.75}
"""Typical length of a text as a share of its maximum."""

RATES = (("amx_bf16", 2e11), ("avx512f", 8e10), ("avx2", 4e10))
"""Sustained FLOP/s of one core in training at BERT-mini's width, by the best instruction set it has:
2e11 gives the 102 pairs/s measured for BERT-mini with 30,522 words and 92 tokens a pair, and 310 for tiny."""

FULL_RATE_HIDDEN, BEST_EFFICIENCY = 256, 1.25
"""Narrower models are bound by memory and dispatch, wider ones come closer to the peak (2.5e11 for base)."""

OTHER_RATE = 4e10
GPU_RATE = 5e13
BANDWIDTH = 1e10
"""Bytes/s a core reads and writes; bounds the optimiser's pass over the embedding table."""

OPTIMISER_BYTES = 28
"""Bytes moved per parameter and step by a dense AdamW update in fp32."""

LAYER_SECONDS = 2e-3
"""Fixed cost of a layer and step (dispatch of small operations)."""

START_SECONDS = 2.0
"""From the start of the process to the first step, and from the last measurement to the end."""

BYTES_PER_PARAMETER = 20
PROCESS_BYTES = 800 * 2**20

EXPONENTS = ((1e6, 0.585), (1e7, 0.75), (float("inf"), 0.85))
"""Speed-up of t threads = t**exponent, by non-embedding parameters: two threads gave 1.5 × for BERT-tiny
and 1.68 × for BERT-mini (466 against 310 and 171 against 102 pairs/s)."""


@dataclass(frozen=True)
class Work:
    """Estimated need of one cell; times are on one core, or one GPU."""

    train: float
    """Seconds of training."""
    parameters: int
    """Non-embedding parameters."""
    memory: int = 0
    """Bytes of main memory."""
    evaluate: float = 0.0
    """Seconds of everything else, above all measuring."""

    @property
    def seconds(self) -> float:
        """The whole time on one core, or one GPU."""
        return self.train + self.evaluate

    def on(self, threads: int) -> float:
        """The whole time in seconds with ``threads`` CPU threads."""
        return self.seconds / speedup(threads, self.parameters)


def speedup(threads: int, parameters: int) -> float:
    """How much faster ``threads`` threads are than one, for a model of that many parameters."""
    exponent = next(value for limit, value in EXPONENTS if parameters < limit)
    return float(threads**exponent)


def encoder_parameters(model: ModelConfig | DictConfig) -> int:
    """Non-embedding parameters: ``12H² + 13H`` a layer for a feed-forward width of 4H, and the projection."""
    hidden = int(model.hidden)
    wide = int(model.intermediate or 4 * hidden)
    layer = 4 * hidden * hidden + 2 * hidden * wide + 9 * hidden + wide
    projection = int(model.projection)
    return int(model.layers) * layer + (hidden * projection + projection if projection else 0)


def estimate(config: DictConfig, gpu: bool = False) -> Work:
    """Work of the cell ``config``; on a GPU if ``gpu``."""
    model, data, train, evaluation = config.model, config.data, config.train, config.eval
    parameters = encoder_parameters(model)
    embedding = int(data.vocabulary) * int(model.hidden)
    rate = GPU_RATE if gpu else core_rate() * min(BEST_EFFICIENCY, model.hidden / FULL_RATE_HIDDEN)
    query = FILL["query"] * data.max_query_length
    passage = FILL["passage"] * data.max_passage_length
    pair = query + passage * (1 + _hard_negatives(config.strategy))
    pairs = train.batch_size * (2 if config.strategy.get("budget") == "extra" else 1)
    update = 0.0 if gpu else embedding * OPTIMISER_BYTES / BANDWIDTH
    step = 6 * parameters * pairs * pair / rate + update + LAYER_SECONDS * model.layers
    collections = 0 if evaluation.name == "none" else 1 + len(data.ood)
    texts = (evaluation.max_queries or 10_000) * query + (evaluation.pool or 100_000) * passage
    measuring = collections * 2 * parameters * texts / rate + START_SECONDS
    return Work(
        train=step * train.steps,
        parameters=parameters,
        memory=PROCESS_BYTES + BYTES_PER_PARAMETER * (parameters + embedding),
        evaluate=measuring,
    )


@cache
def core_rate(cpuinfo: Path = Path("/proc/cpuinfo")) -> float:
    """FLOP/s assumed for one core of this machine; see :data:`RATES`."""
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return OTHER_RATE
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return next((rate for flag, rate in RATES if flag in flags), OTHER_RATE)


def _hard_negatives(strategy: Any) -> int:
    name = strategy.base if strategy.name == "pareto" else strategy.name
    return int(strategy.hard.count) if name in ("hard-negative", "denoising") else 0
