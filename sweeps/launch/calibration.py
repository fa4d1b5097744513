"""What a probe of this machine found (:mod:`sweeps.launch.probe`), and where it is kept. Needs no PyTorch."""

import ast
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from omegaconf import DictConfig

import retrieval
from retrieval.data.cache import digest, is_complete
from retrieval.run.manifest import cpu_model
from retrieval.run.processor import matrix_set
from retrieval.run.resources import available_cores, gpu_model

POINTS = "points.json"
WIDTHS = (128, 256, 512)
LAYERS, VOCABULARY = 2, 16384

PAIRS, NARROW, LEAST_PAIRS = 48, 128, 16
"""Pairs of a step up to a width, and proportionally fewer in wider models, but at least so many."""

ROUNDS, ROUNDS_TOGETHER = 3, 2
"""Timed calls on one thread, and on several, after one that warms up."""

MOST_THREADS = 8
"""Threads whose speed-up is measured: all cores of the machine, but no more than these."""


MEASURED = (
    "data/layout.py",
    "models/bert.py",
    "models/cpu",
    "models/flash.py",
    "models/scorer.py",
    "training/module.py",
)
"""Files and folders of ``retrieval`` that decide what a probe times: layout, layers, optimiser."""


@dataclass(frozen=True)
class Point:
    """Measured over estimated time on one core, or one GPU, at one width."""

    hidden: int
    train: float
    encode: float
    exponent: float | None = None
    """t threads train t**exponent times as fast as one; ``None`` = not measured, the machine was busy."""
    busy: float | None = None
    """Share of a training step's time in which a GPU computes; ``None`` on a CPU."""


@dataclass(frozen=True)
class Calibration:
    """What a probe of this machine found, by ascending width."""

    points: Sequence[Point]
    memory: int | None = None
    """Bytes of a GPU; ``None`` of a CPU."""

    def train(self, hidden: int) -> float:
        """Factor on the estimated time of training."""
        return math.exp(self._between(hidden, [math.log(point.train) for point in self.points]))

    def encode(self, hidden: int) -> float:
        """Factor on the estimated time of evaluation."""
        return math.exp(self._between(hidden, [math.log(point.encode) for point in self.points]))

    def exponent(self, hidden: int) -> float | None:
        """Of the speed-up by threads in training; ``None`` where it was not measured."""
        found = [point.exponent for point in self.points if point.exponent is not None]
        return self._between(hidden, found) if len(found) == len(self.points) else None

    def busy(self, hidden: int) -> float | None:
        """Share of a step in which a GPU computes; ``None`` where it was not measured."""
        found = [point.busy for point in self.points if point.busy is not None]
        return self._between(hidden, found) if len(found) == len(self.points) else None

    def _between(self, hidden: int, values: Sequence[float]) -> float:
        """Interpolated over the logarithm of the width; the outermost point's beyond the range."""
        import numpy as np  # not when a sweep starts, which need not be calibrated

        return float(np.interp(math.log(hidden), [math.log(point.hidden) for point in self.points], values))


def calibration_folder(config: DictConfig, gpu: bool = False) -> Path:
    """Where the findings are: one a processor (and GPU), PyTorch, precision and :data:`MEASURED` code."""
    machine = [
        cpu_model(),
        matrix_set(),
        probed_threads(),
        metadata.version("torch"),
        str(config.train.precision),
    ]
    if gpu:
        machine.append(gpu_model())
    code = measured_code(Path(retrieval.__file__).parent)
    key = digest([*machine, code, WIDTHS, LAYERS, PAIRS, NARROW, LEAST_PAIRS, ROUNDS, ROUNDS_TOGETHER])
    return Path(config.cache) / "machine" / f"probe-{key[:16]}"


def pairs_of(hidden: int) -> int:
    """Pairs of a probed step at a width."""
    return max(LEAST_PAIRS, PAIRS * min(hidden, NARROW) // hidden)


def probed_threads() -> int:
    """Threads whose speed-up over one a probe measures."""
    return min(available_cores(), MOST_THREADS)


def known_calibration(config: DictConfig, gpu: bool = False) -> Calibration | None:
    """What an earlier probe of this machine's cores, or of its GPU, found; ``None`` where there was none."""
    folder = calibration_folder(config, gpu)
    if not is_complete(folder):
        return None
    found = json.loads((folder / POINTS).read_text(encoding="utf-8"))
    return Calibration([Point(**point) for point in found["points"]], found["memory"])


def write_calibration(found: Calibration, folder: Path) -> None:
    """Write what :func:`known_calibration` reads."""
    (folder / POINTS).write_text(json.dumps(asdict(found)), encoding="utf-8")


def measured_code(root: Path) -> str:
    """Hash of the :data:`MEASURED` code below ``root``, without comments, docstrings and line breaks."""
    paths = (root / part for part in MEASURED)
    files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    return hashlib.sha256("".join(map(_instructions, files)).encode()).hexdigest()


def _instructions(file: Path) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [each for each in node.body if not _is_text(each)]
    return ast.dump(tree)


def _is_text(statement: ast.stmt) -> bool:
    """Whether it is a docstring, or one that stands below a constant or field."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
