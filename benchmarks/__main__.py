"""``python -m benchmarks``: every contestant in turn, several rounds, medians and ratios of one run."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks import caching
from benchmarks.parts import PARTS, Match, Options
from benchmarks.work import SHAPES
from retrieval.manifest import cpu_model
from retrieval.notices import quiet


def main() -> None:
    """Run the chosen parts and write ``<out>.json`` and ``<out>.md``."""
    chosen = _parse()
    quiet()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(chosen.threads)
    options = Options(tuple(chosen.sizes.split(",")), chosen.steps, chosen.passages)
    rows: list[dict[str, Any]] = []
    for part in chosen.parts.split(","):
        for match in PARTS[part](options):
            rows += _compete(match, chosen.rounds)
            _write(chosen, rows)
    print(chosen.out.with_suffix(".md").read_text())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--sizes", default=",".join(SHAPES), help=f"of {','.join(SHAPES)}")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument("--steps", type=int, default=8, help="timed training steps a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passages", type=int, default=2000, help="passages to encode a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu"))
    chosen = parser.parse_args()
    for option, known in (("sizes", SHAPES), ("parts", PARTS)):
        for name in getattr(chosen, option).split(","):
            if name not in known:
                parser.error(f"--{option} {name}: not one of {', '.join(known)}")
    return chosen


def _compete(match: Match, rounds: int) -> list[dict[str, Any]]:
    """All contestants once a round, so that a change of the machine's load meets all of them."""
    speeds: dict[str, list[float]] = {name: [] for name in match.contestants}
    for _ in range(rounds):
        for name, run in match.contestants.items():
            speeds[name].append(run())
    reference = next(iter(speeds.values()))
    rows: list[dict[str, Any]] = [
        {
            "part": match.part,
            "work": match.work,
            "contestant": name,
            "unit": f"{match.unit}/s",
            "per_second": statistics.median(values),
            "ratio": statistics.median(a / b for a, b in zip(values, reference, strict=True)),
            "rounds": values,
        }
        for name, values in speeds.items()
    ]
    if match.part == "caching":
        for row, mini in zip(rows, (None, caching.MINI_BATCH), strict=False):
            row["step_bytes"] = caching.step_bytes("mini", mini)
    return rows


def _write(chosen: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    record = {
        "machine": {
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "threads": chosen.threads,
            "torch": torch.__version__,
            "platform": platform.platform(),
        },
        "rounds": chosen.rounds,
        "rows": rows,
    }
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    chosen.out.with_suffix(".md").write_text(_markdown(record))


def _markdown(record: dict[str, Any]) -> str:
    machine = ", ".join(f"{name}: {value}" for name, value in record["machine"].items())
    lines = [
        f"{machine}; median of {record['rounds']} interleaved rounds",
        "",
        "| part | work | contestant | per second | ratio |",
        "|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        size = row.get("step_bytes")
        note = f", {size / 2**20:,.0f} MiB a step" if size else ""
        speed = f"{row['per_second']:.4g} {row['unit'].removesuffix('/s')}{note}"
        lines.append(
            f"| {row['part']} | {row['work']} | {row['contestant']} | {speed} | {row['ratio']:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
