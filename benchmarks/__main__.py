"""``python -m benchmarks``: every contestant in turn, several rounds, medians and ratios of one run."""

from __future__ import annotations

import argparse
import json
import logging
import platform
import statistics
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks import encoding, search, training
from benchmarks.work import SHAPES
from retrieval.manifest import cpu_model
from retrieval.notices import quiet

REFERENCE = {
    "training": "sentence-transformers fp32, dropout .1",
    "encoding": "sentence-transformers",
    "search": "beir",
}


def main() -> None:
    """Run the chosen parts and write ``<out>.json`` and ``<out>.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--sizes", default="tiny,mini", help=f"of {','.join(SHAPES)}")
    parser.add_argument("--parts", default="training,encoding,search")
    parser.add_argument("--steps", type=int, default=12, help="timed training steps a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passages", type=int, default=2000, help="passages to encode a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu"))
    options = parser.parse_args()
    quiet()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    rows = []
    for part, size, contestants in _matches(options):
        rows += _compete(part, size, contestants, options.rounds)
    machine = {"cpu": cpu_model(), "threads": options.threads, "torch": torch.__version__}
    record = {"machine": {**machine, "platform": platform.platform()}, "rounds": options.rounds, "rows": rows}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(_markdown(record))
    print(_markdown(record))


def _matches(options: argparse.Namespace) -> list[tuple[str, str, dict[str, Callable[[], float]]]]:
    matches: list[tuple[str, str, dict[str, Callable[[], float]]]] = []
    parts = options.parts.split(",")
    for size in options.sizes.split(","):
        if "training" in parts:
            entries = {name: partial(run, size, options.steps) for name, run in training.CONTESTANTS.items()}
            matches.append(("training", size, entries))
        if "encoding" in parts:
            entries = {
                "sentence-transformers": partial(encoding.sentence_transformers, size, options.passages),
                "ours fp32": partial(encoding.ours, size, options.passages, "32"),
                "ours bf16": partial(encoding.ours, size, options.passages, "bf16"),
            }
            matches.append(("encoding", size, entries))
    if "search" in parts:
        entries = {"beir": partial(search.beir, 1000, 100_000), "ours": partial(search.ours, 1000, 100_000)}
        matches.append(("search", "1,000 × 100k × 256", entries))
    return matches


def _compete(
    part: str, size: str, contestants: dict[str, Callable[[], float]], rounds: int
) -> list[dict[str, object]]:
    """All contestants once a round, so that a change of the machine's load meets all of them."""
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            speeds[name].append(run())
    reference = speeds[REFERENCE[part]]
    return [
        {
            "part": part,
            "size": size,
            "contestant": name,
            "per_second": statistics.median(values),
            "ratio": statistics.median(a / b for a, b in zip(values, reference, strict=True)),
            "rounds": values,
        }
        for name, values in speeds.items()
    ]


def _markdown(record: dict[str, object]) -> str:
    machine = record["machine"]
    lines = [f"{machine}", "", "| part | size | contestant | per second | ratio |", "|---|---|---|---|---|"]
    for row in record["rows"]:  # type: ignore[attr-defined]
        lines.append(
            f"| {row['part']} | {row['size']} | {row['contestant']} | {row['per_second']:.4g}"
            f" | {row['ratio']:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
