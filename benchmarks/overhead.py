"""``python -m benchmarks.overhead``: what a cell of a sweep takes beyond its training and its evaluation.

Runs a sweep of small cells side by side with warm caches. The time of a cell is the scheduler's, from the
start of its process to its end; training and evaluation are what its result says. The rest is the overhead:
process, data, manifest, model, optimiser, logger, checkpoints, saved encoder, result. Imports are paid once
a sweep, like the rest of ``start_seconds``: everything before the first cell starts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.curve import CONF
from retrieval.run.resources import available_cores

MEASURED = ("cost/train_seconds", "cost/eval_seconds", "cost/attack_seconds")


def main() -> None:
    """Warm the caches with one cell, time the others and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--model", default="bert-tiny")
    parser.add_argument("--cache", type=Path, default=Path(".cache/paretrieve"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/overhead.json"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fixed = [f"model={chosen.model}", f"train.steps={chosen.steps}", f"cache={chosen.cache.resolve()}"]
        _sweep(Path(folder) / "warm", fixed, ["seed=0"])
        seeds = ",".join(str(seed) for seed in range(1, chosen.cells + 1))
        seconds, began = _sweep(Path(folder) / "timed", fixed, [f"seed={seeds}"])
        record = {
            "machine": machine.facts(available_cores()),
            "load": os.getloadavg()[0],
            "cells": chosen.cells,
            "model": chosen.model,
            "steps": chosen.steps,
            "sweep_seconds": seconds,
            **_figures(Path(folder) / "timed", began),
        }
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


def _sweep(runs: Path, fixed: list[str], grid: list[str]) -> tuple[float, float]:
    """Seconds that a sweep takes as a command, and when it began."""
    command = [sys.executable, "train.py", "-m", *grid, *fixed, f"runs={runs}", "hydra.launcher.threads=1"]
    began, start = time.time(), time.perf_counter()
    subprocess.run(command, check=True, cwd=CONF.parent, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, began


def _figures(runs: Path, began: float) -> dict[str, Any]:
    (record,) = runs.glob(".sweeps/*/sweep.json")
    overheads, starts = [], []
    for cell in json.loads(record.read_text())["cells"]:
        result = json.loads((runs / cell["run"] / "result.json").read_text())
        status = json.loads((runs / cell["run"] / "status.json").read_text())
        overheads.append(cell["seconds"] - sum(result.get(name, 0.0) for name in MEASURED))
        starts.append(datetime.fromisoformat(status["started"]).timestamp() - began)
    return {
        "overhead_seconds": statistics.median(overheads),
        "overheads": sorted(overheads),
        "start_seconds": min(starts),
    }


if __name__ == "__main__":
    main()
