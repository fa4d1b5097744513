"""``python -m benchmarks.sweep``: a sweep of 12 cells against a shell loop of sentence-transformers scripts.

Two sizes × three fractions × two strategies on ``pydocs``. Both sides train the same number of steps of 64
pairs from the same untrained models and measure the same test sets; the collection is built before the clock
starts. The scripts train and encode in bf16 where this machine multiplies it faster, their best there.
They measure nDCG alone: contrastive entropy and BM25 are left out of their work.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from hydra import compose, initialize_config_dir

from benchmarks import machine
from benchmarks.curve import CONF
from retrieval.config import Config, register_schema
from retrieval.config.validation import validate
from retrieval.data.collection import Collection
from retrieval.data.testset import EvaluationSet
from retrieval.evaluation.suite import build_sets
from retrieval.models.families import build_scorer
from retrieval.run.resources import available_cores
from retrieval.training.prepared import PreparedData, prepare

MODELS, FRACTIONS, STRATEGIES = ("bert-tiny", "bert-mini"), ("0.1", "0.5", "1"), ("standard", "pareto")


def main() -> None:
    """Time both and write the ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument(
        "--cells", type=int, default=12, help="cells the scripts run; the rest is extrapolated"
    )
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/sweep.json"))
    chosen = parser.parse_args()
    cells = [
        (model, fraction, strategy) for strategy in STRATEGIES for model in MODELS for fraction in FRACTIONS
    ]
    # Every (model, strategy) among the first ones, so that an extrapolation has seen each.
    cells.sort(key=lambda cell: FRACTIONS.index(cell[1]))
    facts = machine.facts(available_cores())
    precision = facts["precision"]
    with tempfile.TemporaryDirectory() as folder:
        _export(Path(folder), chosen.cache, chosen.steps)
        ours = _ours(Path(folder) / "runs", chosen.cache, chosen.steps)
        scripts = [_script(Path(folder), cell, chosen.steps, precision) for cell in cells[: chosen.cells]]
    peer = sum(scripts) * len(cells) / len(scripts)
    record = {
        "machine": facts,
        "steps": chosen.steps,
        "ours_seconds": ours,
        "peer_seconds": peer,
        "ratio": peer / ours,
    }
    record |= {"peer_cells": len(scripts), "peer_cell_seconds": scripts, "peer_precision": precision}
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


def _ours(runs: Path, cache: Path, steps: int) -> float:
    grid = [
        f"model={','.join(MODELS)}",
        f"data.frac={','.join(FRACTIONS)}",
        f"strategy={','.join(STRATEGIES)}",
    ]
    # The scripts choose no ω: a rule that trains proxies or measures dev losses would do more than they do.
    fixed = ["strategy.rule=repeats", f"train.steps={steps}", f"runs={runs}", f"cache={cache}"]
    start = time.perf_counter()
    subprocess.run([sys.executable, "train.py", "-m", *grid, *fixed], check=True, cwd=CONF.parent)
    return time.perf_counter() - start


def _script(folder: Path, cell: tuple[str, str, str], steps: int, precision: str) -> float:
    command = [sys.executable, "-m", "benchmarks.peer_cell", str(folder), *cell, str(steps), precision]
    start = time.perf_counter()
    subprocess.run(command, check=True, cwd=CONF.parent, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _export(folder: Path, cache: Path, steps: int) -> None:
    """Write what the scripts read: untrained models, training pairs and test sets as BEIR folders."""
    register_schema()
    for model in MODELS:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cell = validate(compose("config", [f"model={model}", f"train.steps={steps}", f"cache={cache}"]))
        data = prepare(cell)
        encoder = build_scorer(cell.model, data.tokenizer, 1, "32")
        limits = cell.data.max_query_length, cell.data.max_passage_length
        encoder.export(data.tokenizer, limits, folder / model)
    _write_data(folder, cell, data)


def _write_data(folder: Path, cell: Config, data: PreparedData) -> None:
    for name, collection in {"in-domain": data.in_domain, **data.robust}.items():
        _write_pairs(folder / f"train-{name}", collection)
    # Dev sets, too: a run measures them beside its tests.
    sets = build_sets(data.in_domain, data.ood, cell.eval, data.robust_dev)
    for prefix, part in sets.items():
        _write_test(folder / f"test-{prefix.replace('/', '-')}", part)


def _write_pairs(folder: Path, collection: Collection) -> None:
    pairs = collection.judgements("train")
    ids = [str(number) for number in range(len(pairs))]
    queries, passages = collection.query_texts(pairs.query_rows), collection.passage_texts(pairs.passage_rows)
    _write(folder, "train", zip(ids, queries), zip(ids, passages), zip(ids, ids))


def _write_test(folder: Path, test: EvaluationSet) -> None:
    relevant = zip(test.pair_queries().tolist(), test.columns.tolist(), strict=True)
    _write(folder, "test", enumerate(test.queries()), enumerate(test.passages()), relevant)


def _write(
    folder: Path,
    split: str,
    queries: Iterable[tuple[object, str]],
    passages: Iterable[tuple[object, str]],
    relevant: Iterable[tuple[object, object]],
) -> None:
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("queries", queries), ("corpus", passages)):
        lines = (json.dumps({"_id": str(key), "title": "", "text": text}) for key, text in texts)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    lines = (f"{query}\t{passage}\t1" for query, passage in relevant)
    header = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / f"{split}.tsv").write_text(header + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
