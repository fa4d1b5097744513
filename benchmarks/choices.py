"""``python -m benchmarks.choices``: what is chosen by processor, each way of it timed on one thread.

Linear layers in fp32 and bf16; weight gradients as convolutions, products and products of a transposed copy;
and of encoding the share of its linear layers, which is its floor. It tells what a lesser processor would
choose with ``ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16`` or ``AVX2`` before the command.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks import machine
from retrieval.config import ModelConfig
from retrieval.data.layout import TokenBatch, group_tokens
from retrieval.models.cpu import linear as fast
from retrieval.models.encoding import batches_of
from retrieval.models.families import build_scorer
from retrieval.models.flops import Work
from retrieval.models.scorer import Scorer
from retrieval.run.precision import best_of_turns
from sweeps.launch.calibration import VOCABULARY
from sweeps.launch.probe import StandInTokenizer

ROWS, TEXTS, MEAN_LENGTH, LENGTH_SPREAD, LONGEST = 2880, 3000, 78, 30, 128
WIDTHS = ((128, 128), (128, 512), (256, 256), (256, 1024), (1024, 256), (512, 2048), (768, 3072), (3072, 768))
MODELS = ((2, 128), (4, 256), (6, 384))


def main() -> None:
    """Time every choice, print it and write it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choices", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/choices.json"))
    chosen = parser.parse_args()
    record: dict[str, Any] = {"machine": machine.facts(1), "limit": os.environ.get("ONEDNN_MAX_CPU_ISA", "")}
    torch.set_num_threads(1)
    with torch.inference_mode():
        record["products"] = [_products(*widths) for widths in WIDTHS]
        record["gradients"] = [_gradients(*widths) for widths in WIDTHS]
        record["encoding"] = [_encoding(*shape, str(record["machine"]["precision"])) for shape in MODELS]
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for part in ("products", "gradients", "encoding"):
        print(part)
        for row in record[part]:
            print("  " + "  ".join(f"{key} {_said(value)}" for key, value in row.items()))


def _said(value: float) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _products(size: int, out: int) -> dict[str, float]:
    x, weight, bias = torch.randn(ROWS, size), torch.randn(out, size), torch.randn(out)
    halves = tuple(tensor.bfloat16() for tensor in (x, weight, bias))
    ways = {
        "ms_32": lambda: F.linear(x, weight, bias),
        "ms_bf16": lambda: fast.linear(*halves),
    }
    return {"in": size, "out": out, **_best(ways)}


def _gradients(size: int, out: int) -> dict[str, float]:
    """Of a linear layer in bf16, the ways of :func:`retrieval.models.cpu.linear.weight_gradients`."""
    gradient, x = torch.randn(ROWS, out).bfloat16(), torch.randn(ROWS, size).bfloat16()
    ways = {
        "ms_convolution": lambda: fast.by_convolution(gradient, x, 1.0),
        "ms_product": lambda: fast.by_product(gradient, x, 1.0),
        "ms_transpose": lambda: fast.by_transpose(gradient, x, 1.0),
    }
    return {"in": size, "out": out, **_best(ways)}


def _best(ways: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Least milliseconds of each way; they take turns."""
    return {name: 1e3 * seconds for name, seconds in best_of_turns(ways).items()}


def _encoding(layers: int, hidden: int, precision: str) -> dict[str, float]:
    """Speed of encoding, and the share of its time that its linear layers take."""
    config = ModelConfig(init="scratch", layers=layers, hidden=hidden)
    scorer = build_scorer(config, StandInTokenizer(), 0, precision).eval()  # type: ignore[arg-type]
    drawn = np.random.default_rng(0)
    lengths = np.clip(drawn.normal(MEAN_LENGTH, LENGTH_SPREAD, TEXTS), 8, LONGEST).astype(np.int64)
    batches = [
        group_tokens(drawn.integers(5, VOCABULARY, lengths[own].sum(), np.int32), lengths[own])
        for own in batches_of(lengths, scorer.hidden, torch.device("cpu"))
    ]
    with scorer.unchanged():
        _encode(scorer, batches)
        seconds = min(_encode(scorer, batches) for _ in range(3))
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            _encode(scorer, batches)
    times = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    linear = sum(spent for name, spent in times.items() if "linear" in name or name == "aten::addmm")
    work = Work(tokens=float(lengths.sum()), attended=float((lengths**2).sum()), sequences=TEXTS)
    share = linear / sum(times.values())
    return {
        "layers": layers,
        "hidden": hidden,
        "texts_a_second": TEXTS / seconds,
        "flops_a_second": scorer.flops(work) / seconds,
        "linear_share": share,
    }


def _encode(scorer: Scorer, batches: list[TokenBatch]) -> float:
    start = time.process_time()
    for batch in batches:
        scorer(batch)
    return time.process_time() - start


if __name__ == "__main__":
    main()
