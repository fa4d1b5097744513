"""``python -m benchmarks.memory``: peak resident memory of preparing a collection and of a run, by its size.

Draws synthetic collections of several sizes (a query for every ten passages, as a local BEIR folder) and,
each in a process of its own: checks and indexes it, trains the tokenizer, fills the token stores, and trains
and measures bert-tiny for some steps. ``imports`` is a process that only loads what a run loads. The growth
is the slope between the smallest and the largest size.

    python -m benchmarks.memory --passages 50000,100000
    python -m benchmarks.memory --passages 250000,1000000
    python -m benchmarks.memory --passages 50000,100000 eval=full eval.bm25=false eval.shard=8192
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.stages import in_own_process

LIMIT_GB = 2.5
PASSAGES_A_QUERY = 10


def main() -> None:
    """Run all stages for all sizes and write what they took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of the run, as of train.py")
    parser.add_argument("--passages", default="50000,100000", help="sizes, separated by commas")
    parser.add_argument("--steps", type=int, default=20, help="training steps of the run")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=None, help="folder to keep (default: a temporary one)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/memory.json"))
    options = parser.parse_args()
    sizes = [int(size) for size in options.passages.split(",")]
    record: dict[str, Any] = {"steps": options.steps, "threads": options.threads, "limit_gb": LIMIT_GB}
    with tempfile.TemporaryDirectory() as temporary:
        options.work = options.work or Path(temporary)
        record["imports"] = in_own_process(_imports, options)
        record["sizes"] = {size: _stages(size, options) for size in sizes}
    smallest, largest = (record["sizes"][size] for size in (min(sizes), max(sizes)))
    if len(sizes) > 1:
        record["bytes_a_passage"] = {
            name: round(
                (largest[name]["peak_gb"] - smallest[name]["peak_gb"]) * 2**30 / (max(sizes) - min(sizes))
            )
            for name in STAGES
        }
    record["peak_gb"] = max(stage["peak_gb"] for stage in largest.values())
    record["below_limit"] = record["peak_gb"] < LIMIT_GB
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


def _stages(size: int, options: argparse.Namespace) -> dict[str, Any]:
    options.size = size
    return {name: in_own_process(stage, options) for name, stage in STAGES.items()}


def _imports(options: argparse.Namespace) -> dict[str, Any]:
    import retrieval.pipeline

    return {"module": retrieval.pipeline.__name__}


def _draw(options: argparse.Namespace) -> dict[str, Any]:
    from retrieval.data import sources
    from retrieval.data.sources.synthetic import SyntheticConfig

    queries = options.size // PASSAGES_A_QUERY
    drawn = SyntheticConfig(passages=options.size, queries=queries, topics=500, words=20_000, domains=0)
    return {"folder": str(sources.prepare(drawn, options.work / "drawn").in_domain)}


def _cell(options: argparse.Namespace) -> Any:
    from hydra import compose, initialize_config_dir

    from retrieval.config import register_schema
    from retrieval.evaluate import CONFIGURATION

    folder = _draw(options)["folder"]
    work = options.work.resolve()
    chosen = [
        "model=bert-tiny", "data=local", f"data.path={folder}", "data.overlap=drop", "logger=none",
        f"train.steps={options.steps}", f"trainer.threads={options.threads}", "trainer.accelerator=cpu",
        "trainer.progress=false", f"cache={work}/cache", f"runs={work}/runs", *options.overrides,
    ]  # fmt: skip
    register_schema()
    with initialize_config_dir(str(CONFIGURATION), version_base="1.3"):
        return compose("config", chosen)


def _index(options: argparse.Namespace) -> dict[str, Any]:
    from retrieval.data.collection import open_collection

    return open_collection(Path(_draw(options)["folder"]), options.work.resolve() / "cache").counts


def _tokens(options: argparse.Namespace) -> dict[str, Any]:
    from retrieval.training.prepared import prepare

    data = prepare(_cell(options))
    stores = {side: data.store(data.in_domain, side) for side in ("queries", "passages")}
    return {side: len(store.ids) for side, store in stores.items()}


def _run(options: argparse.Namespace) -> dict[str, Any]:
    from retrieval.pipeline import run_cell

    result = run_cell(_cell(options))
    return {
        key: result[key] for key in ("size/train_pairs", "eff/contrastive_entropy", "cost/pairs_per_second")
    }


STAGES = {"draw": _draw, "index": _index, "tokenizer and tokens": _tokens, "run": _run}


if __name__ == "__main__":
    main()
