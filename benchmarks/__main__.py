"""``python -m benchmarks``: every contestant in turn, several rounds, medians and ratios of one run."""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import caching, history, machine, training
from benchmarks.contest import Match, compete, measured
from benchmarks.parts import OF_DEVICE, PARTS, QUICK, Options
from benchmarks.work import SHAPES
from retrieval.errors import ConfigError
from retrieval.run.hardware import quiet

QUICK_SIZES, QUICK_PASSAGES = "tiny,mini,small", 6_000


def main() -> None:
    """Run the chosen parts and write ``<out>.json`` and ``<out>.md``."""
    chosen = _parse()
    quiet()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(chosen.threads)
    _import_peers()
    options = Options(tuple(chosen.sizes.split(",")), chosen.passages, chosen.device, chosen.quick)
    facts = measured(partial(machine.facts, chosen.threads, chosen.device), chosen.device)
    print(machine.line(facts), flush=True)
    waits = training.synchronisations("mini") if chosen.device == "cuda" else None
    rows: list[dict[str, Any]] = []
    for part in chosen.parts.split(","):
        for match in PARTS[part](options):
            rows += _competed(match, chosen.rounds, options)
            print(_markdown_rows(rows[-len(match.contestants) :]), flush=True)
        _write(chosen, facts, rows, waits)
    print(chosen.out.with_suffix(".md").read_text())
    if chosen.append_history:
        print(f"{history.append(rows, facts, chosen.commit)} rows added to {history.HISTORY}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--quick", action="store_true", help="the main rows in less than 5 minutes on two cores, one round"
    )
    parser.add_argument("--sizes", default=None, help=f"of {','.join(SHAPES)}")
    parser.add_argument("--parts", default=None, help=f"of {','.join(PARTS)} (default: all of the device)")
    parser.add_argument("--rounds", type=int, default=None, help="default: 3, or 1 with --quick")
    parser.add_argument(
        "--passages",
        type=int,
        default=None,
        help="to encode a round; fewer for large models (default: 20,000)",
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=None, help="default: benchmarks/results/DEVICE")
    parser.add_argument(
        "--append-history", action="store_true", help="add the ratios to benchmarks/history.csv"
    )
    chosen = parser.parse_args()
    brief = chosen.quick
    chosen.sizes = chosen.sizes or (QUICK_SIZES if brief else ",".join(SHAPES))
    chosen.parts = chosen.parts or ",".join(QUICK if brief else OF_DEVICE[chosen.device])
    chosen.rounds = chosen.rounds or (1 if brief else 3)
    chosen.passages = chosen.passages or (QUICK_PASSAGES if brief else 20_000)
    chosen.out = chosen.out or Path("benchmarks/results") / f"{chosen.device}{'-quick' if brief else ''}"
    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no CUDA GPU here")
    for option, known in (("sizes", SHAPES), ("parts", OF_DEVICE[chosen.device])):
        for name in getattr(chosen, option).split(","):
            if name not in known:
                parser.error(f"--{option} {name}: not one of {', '.join(known)}")
    if chosen.append_history:
        try:
            chosen.commit = history.clean_commit()
        except ConfigError as error:
            parser.error(str(error))
    return chosen


def _import_peers() -> None:
    """Import once what every contestant's process would import."""
    import datasets  # noqa: F401
    import sentence_transformers  # noqa: F401
    from sentence_transformers import cross_encoder, multi_vector_encoder, sparse_encoder  # noqa: F401


def _competed(match: Match, rounds: int, options: Options) -> list[dict[str, Any]]:
    rows = compete(match, rounds, options.device)
    if match.part == "caching":
        for row, mini in zip(rows, (None, caching.MINI_BATCH), strict=False):
            row["step_bytes"] = caching.step_bytes("mini", mini, options.device, options.best)
    return rows


def _write(
    chosen: argparse.Namespace, facts: dict[str, Any], rows: list[dict[str, Any]], waits: float | None
) -> None:
    record: dict[str, Any] = {"machine": facts, "rounds": chosen.rounds, "rows": rows}
    note = ""
    if waits is not None:
        record["synchronisations_a_step"] = waits
        note = f"the host waits for the GPU {waits:g} times a step (mini)\n\n"
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    rounds = "one round" if chosen.rounds == 1 else f"median of {chosen.rounds} interleaved rounds"
    head = f"{machine.line(facts)}; {rounds}; ratio to the best reference of the round\n\n"
    columns = "| part | work | contestant | per second | ratio | low-high |\n|---|---|---|---|---|---|\n"
    chosen.out.with_suffix(".md").write_text(head + note + columns + _markdown_rows(rows) + "\n")


def _markdown_rows(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        size = row.get("step_bytes")
        note = f", {size / 2**20:,.0f} MiB a step" if size else ""
        speed = f"{row['per_second']:.4g} {row['unit'].removesuffix('/s')}{note}"
        ratio = f"{row['ratio']:.2f} | {row['low']:.2f}-{row['high']:.2f}"
        lines.append(f"| {row['part']} | {row['work']} | {row['contestant']} | {speed} | {ratio} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
