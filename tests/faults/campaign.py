"""A small sweep that is killed again and again, and what must hold once it was left to end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from safetensors.numpy import load_file

from retrieval.data.cache import MARKER, is_complete
from retrieval.run.directory import RunDirectory
from retrieval.run.files import read_json
from retrieval.training.checkpoints import Checkpoints
from tests.conftest import REPOSITORY
from tests.end_to_end.conftest import SMALL

STRATEGIES = ("standard", "hard-negative", "pareto")
OPTIONS = (
    *SMALL,
    "train.steps=48",
    "model.dropout=0.1",
    "strategy.hard.refresh=8",
    "trainer.checkpoint_every=3",
    "trainer.checkpoint_seconds=0",
)
LEFT_BEHIND = (
    "cache/**/*.tmp-*",
    "runs/*/.*.tmp",
    "runs/*/*.tmp",
    "runs/*/checkpoints/*.tmp",
    "runs/*/negatives",
)
TIMED = (
    *("train_seconds", "measure_seconds", "pairs_per_second", "mfu", "eval_seconds", "seconds_per_query"),
    "peak_memory_bytes",
)

Moment = Callable[["Campaign"], bool]


@dataclass
class Campaign:
    """One runs folder and one cache, and the sweeps started on them."""

    root: Path
    seeds: str
    dice: random.Random
    strategies: tuple[str, ...] = STRATEGIES
    kills: Counter[str] = field(default_factory=Counter)
    """Kills by moment and by what was killed."""
    process: subprocess.Popen[str] | None = None

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def start(self) -> None:
        grid = [f"strategy={','.join(self.strategies)}", f"seed={self.seeds}", f"runs={self.runs}"]
        launcher = ["hydra.launcher.threads=1", "hydra.launcher.slots=2"]
        command = [sys.executable, str(REPOSITORY / "train.py"), "-m", *OPTIONS, *grid, *launcher]
        self.process = subprocess.Popen(
            [*command, f"cache={self.cache}"],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait(self, seconds: float = 600) -> tuple[int, str]:
        """Let the sweep end; its exit status and what it said."""
        assert self.process is not None
        out, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, out

    def statuses(self) -> list[dict[str, Any]]:
        return [found for path in self.runs.glob("*/status.json") if (found := read_json(path))]

    def running(self) -> list[dict[str, Any]]:
        return [status for status in self.statuses() if status.get("state") == "running"]

    def reach(self, moment: str, patience: float) -> str | None:
        """Wait for a moment, but not for ever, and a random while more.

        The moment, or ``any time`` where it did not come; ``None`` when the sweep has ended.
        """
        assert self.process is not None
        deadline = time.monotonic() + patience
        while self.process.poll() is None and time.monotonic() < deadline:
            if MOMENTS[moment](self):
                time.sleep(self.dice.choice((0.0, 0.01, 0.05, 0.3)) * self.dice.random())
                return moment if self.process.poll() is None else None
            time.sleep(0.002)
        return "any time" if self.process.poll() is None else None

    def kill_job(self, moment: str) -> None:
        """Kill one process that works for the sweep: a cell's, or the one that prepares data."""
        assert self.process is not None
        with contextlib.suppress(psutil.Error):
            jobs = [child for child in self._family() if child.ppid() != self.process.pid]
            if jobs:
                self.dice.choice(jobs).kill()
                self.kills[f"job at {moment}"] += 1

    def kill_everything(self, moment: str) -> None:
        """As a power cut: the sweep and every process below it at once."""
        family = self._family()
        self._kill_sweep()
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.kills[f"everything at {moment}"] += 1

    def kill_sweep(self, moment: str) -> None:
        """The sweep's own process group alone: its cells must follow by themselves."""
        self._kill_sweep()
        self.kills[f"sweep at {moment}"] += 1

    def _kill_sweep(self) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _family(self) -> list[psutil.Process]:
        assert self.process is not None
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []


def _building(*kinds: str) -> Moment:
    return lambda campaign: any(True for kind in kinds for _ in (campaign.cache / kind).glob("**/*.tmp-*"))


def _exists(pattern: str) -> Moment:
    return lambda campaign: any(True for _ in campaign.runs.glob(pattern))


def _phase(phase: str) -> Moment:
    return lambda campaign: any(
        status.get("phase") == phase and status.get("step", 0) > 0 for status in campaign.running()
    )


MOMENTS: dict[str, Moment] = {
    "preparation": _building("sources", "collections", "tokenizers", "tokens"),
    "mining": _building("negatives", "relevance", "bm25-index"),
    "refresh": _exists("*/negatives/*"),
    "training": _phase("train"),
    "checkpoint": _exists("*/checkpoints/writing.tmp"),
    "evaluation": _phase("evaluate"),
    "export": _exists("*/model.tmp"),
    "result": _exists("*/.result.json*"),
}


def outcome(runs: Path) -> dict[str, dict[str, Any]]:
    """Everything a sweep measured and logged, by run, without what a clock says."""
    found = {}
    for path in sorted(runs.glob("*/result.json")):
        result = json.loads(path.read_text())
        kept = {key: value for key, value in result.items() if key not in {f"cost/{name}" for name in TIMED}}
        directory = RunDirectory(path.parent)
        lines = [
            {k: v for k, v in line.items() if k != "train/pairs_per_second"} for line in directory.metrics()
        ]
        weights = {
            f"{file.parent.name}/{name}": value.tobytes()
            for file in sorted(directory.model.rglob("*.safetensors"))
            for name, value in load_file(file).items()
        }
        found[path.parent.name] = {"result": kept, "metrics": lines, "weights": weights}
    return found


def corruptions(root: Path) -> Iterator[str]:
    """What is not as a kill must leave it, once the sweep was run to its end."""
    for marker in (root / "cache").rglob(MARKER):
        if not is_complete(marker.parent):
            yield f"{marker.parent} is not complete"
    for pattern in LEFT_BEHIND:
        yield from (f"{path} was left behind" for path in root.glob(pattern))
    for path in (root / "runs").glob("*/status.json"):
        directory = RunDirectory(path.parent)
        if directory.state() != "done" or directory.result() is None:
            yield f"{path.parent} is {directory.state()}"
        if Checkpoints(directory.checkpoints).newest() is None:
            yield f"{path.parent} has no whole checkpoint"
