"""``python -m benchmarks``: every contestant in turn, several rounds, medians and ratios of one run."""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import platform
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import caching, training
from benchmarks.parts import OF_DEVICE, PARTS, Match, Options
from benchmarks.work import SHAPES
from retrieval.run.hardware import quiet
from retrieval.run.manifest import cpu_model


def main() -> None:
    """Run the chosen parts and write ``<out>.json`` and ``<out>.md``."""
    chosen = _parse()
    quiet()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(chosen.threads)
    options = Options(tuple(chosen.sizes.split(",")), chosen.passages, chosen.device)
    rows: list[dict[str, Any]] = []
    for part in chosen.parts.split(","):
        for match in PARTS[part](options):
            rows += _compete(match, chosen.rounds, chosen.device)
            print(_markdown_rows(rows[-len(match.contestants) :]), flush=True)
        _write(chosen, rows)
    print(chosen.out.with_suffix(".md").read_text())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--sizes", default=",".join(SHAPES), help=f"of {','.join(SHAPES)}")
    parser.add_argument("--parts", default=None, help=f"of {','.join(PARTS)} (default: all of the device)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--passages", type=int, default=20_000, help="to encode a round; fewer for large models"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=None, help="default: benchmarks/results/DEVICE")
    chosen = parser.parse_args()
    chosen.parts = chosen.parts or ",".join(OF_DEVICE[chosen.device])
    chosen.out = chosen.out or Path("benchmarks/results") / chosen.device
    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no CUDA GPU here")
    for option, known in (("sizes", SHAPES), ("parts", OF_DEVICE[chosen.device])):
        for name in getattr(chosen, option).split(","):
            if name not in known:
                parser.error(f"--{option} {name}: not one of {', '.join(known)}")
    return chosen


def _compete(match: Match, rounds: int, device: str) -> list[dict[str, Any]]:
    """All contestants once a round, so that a change of the machine's load meets all of them."""
    speeds: dict[str, list[float]] = {name: [] for name in match.contestants}
    for _ in range(rounds):
        for name, run in match.contestants.items():
            speeds[name].append(_alone(run) if device == "cpu" else run())
    reference = next(iter(speeds.values()))
    rows: list[dict[str, Any]] = [
        {
            "part": match.part,
            "work": match.work,
            "contestant": name,
            "unit": f"{match.unit}/s",
            "per_second": statistics.median(values),
            "ratio": statistics.median(a / b for a, b in zip(values, reference, strict=True)),
            "ratios": {
                other: statistics.median(a / b for a, b in zip(values, others, strict=True))
                for other, others in speeds.items()
                if other != name
            },
            "rounds": values,
        }
        for name, values in speeds.items()
    ]
    if match.part == "caching":
        for row, mini in zip(rows, (None, caching.MINI_BATCH), strict=False):
            row["step_bytes"] = caching.step_bytes("mini", mini, device)
    return rows


def _alone(run: Callable[[], float]) -> float:
    """In a process of its own: no contestant finds the heap or the threads as another left them.

    Forked, while this process has no threads yet: it computes nothing itself.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(run()))
    process.start()
    sender.close()
    try:
        return float(receiver.recv())
    except EOFError as error:
        process.join()
        raise RuntimeError(f"a contestant ended with status {process.exitcode}, see above") from error
    finally:
        process.join()


def _write(chosen: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    machine: dict[str, Any] = {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": chosen.threads,
        "torch": torch.__version__,
        "platform": platform.platform(),
    }
    record: dict[str, Any] = {"machine": machine, "rounds": chosen.rounds, "rows": rows}
    if chosen.device == "cuda":
        machine["gpu"] = torch.cuda.get_device_name()
        record["synchronisations_a_step"] = training.synchronisations("mini")
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    facts = ", ".join(f"{name}: {value}" for name, value in machine.items())
    head = f"{facts}; median of {chosen.rounds} interleaved rounds\n\n"
    columns = "| part | work | contestant | per second | ratio |\n|---|---|---|---|---|\n"
    chosen.out.with_suffix(".md").write_text(head + columns + _markdown_rows(rows) + "\n")


def _markdown_rows(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        size = row.get("step_bytes")
        note = f", {size / 2**20:,.0f} MiB a step" if size else ""
        speed = f"{row['per_second']:.4g} {row['unit'].removesuffix('/s')}{note}"
        lines.append(
            f"| {row['part']} | {row['work']} | {row['contestant']} | {speed} | {row['ratio']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
