"""Cells that do what ``model.pretrained`` says, in place of training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig

from retrieval.config import Config
from retrieval.errors import DataError, TrainingError
from retrieval.opened import Run
from retrieval.run.directory import RunDirectory
from retrieval.run.files import read_json
from sweeps.launch.calibration import Calibration, Point
from sweeps.launch.workload import Contents


def open_run(config: DictConfig, fingerprint: str | None = None) -> Run:
    """As ``Run.open`` without a check: no value of ``model.pretrained`` is valid."""
    fingerprint = f"stub of {config.data.name}"
    return Run(config, cast(Config, config), fingerprint, RunDirectory.of(config, fingerprint))


def prepare(config: DictConfig) -> None:
    if config.data.path == "unreadable":
        raise DataError("corpus.jsonl:3: not JSON; mend the line")
    with Path(config.cache).open("a") as handle:
        handle.write(f"prepared {config.data.name} {config.data.vocabulary}\n")


FEW = Contents(8, 64, 24, 576, test_queries=10, test_passages=50, vocabulary=400, pairs=100)


def prepare_few(config: DictConfig) -> Contents:
    """Data that turn out to be few."""
    return FEW


def probe(config: DictConfig) -> Calibration:
    """A machine on which threads help a narrow model not at all, and a wide one in full."""
    with Path(config.cache).open("a") as handle:
        handle.write("probed\n")
    return Calibration([Point(128, 1.0, 1.0, 0.0), Point(512, 1.0, 1.0, 1.0)])


def gpu_probe(config: DictConfig) -> Calibration:
    """A GPU that a cell of any width keeps busy for two fifths of the time."""
    return Calibration([Point(128, 1.0, 1.0, busy=0.4), Point(512, 1.0, 1.0, busy=0.4)], 80 * 10**9)


def endless_probe(config: DictConfig) -> None:
    """A machine too busy to be probed."""
    time.sleep(600)


def no_probe(config: DictConfig) -> None:
    raise RuntimeError("no clock\nsecond line")


def run(config: DictConfig) -> dict[str, Any]:
    directory = open_run(config).directory
    with directory.claim() as finished:
        if finished is not None:
            return finished
        print("hello from the cell")
        os.system("echo hello from its child")
        result = behave(config, directory, *str(config.model.pretrained).split(":"))
        directory.finish(result)
        return result


def behave(config: DictConfig, directory: RunDirectory, kind: str, *arguments: str) -> dict[str, Any]:
    match kind:
        case "raise":
            raise ValueError("deliberate\nsecond line")
        case "raise-once-others-train":
            while not any(step_of(path) for path in directory.path.parent.glob("*/status.json")):
                time.sleep(0.05)
            raise ValueError("deliberate\nsecond line")
        case "diverge":
            raise TrainingError("LOSS_NOT_FINITE", "loss is nan at step 7")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "leave":
            sys.exit("leaving early")
        case "train":
            train(directory, int(arguments[0]), float(arguments[1]))
        case "sleep":
            time.sleep(float(arguments[0]))
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            subprocess.Popen(["sleep", "600"])
            time.sleep(600)
    return {
        "run": directory.name,
        "threads": os.environ["OMP_NUM_THREADS"],
        "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "assigned": config.trainer.threads,
        "group": config.logger.group,
        "pid": os.getpid(),
        "eff/contrastive_entropy": 1.5,
        "ood/contrastive_entropy": 2.5,
    }


def step_of(status: Path) -> int:
    return int((read_json(status) or {}).get("step") or 0)


def train(directory: RunDirectory, steps: int, seconds: float) -> None:
    """Steps that take time; a SIGTERM writes a checkpoint and exits, a new start goes on from there."""

    def terminate(*_: object) -> None:
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, terminate)
    checkpoint = directory.path / "checkpoint"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    directory.start(steps, first)
    done = first
    try:
        for step in range(first + 1, steps + 1):
            time.sleep(seconds / steps)
            directory.progress(step)
            done = step
    finally:
        checkpoint.write_text(str(done))
