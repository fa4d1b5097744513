"""``python -m benchmarks.mining``: time and peak memory of mining hard negatives at scale.

Draws a synthetic collection and mines it with BM25 and with an encoder (two layers, random weights),
each stage in a process of its own so that its peak resident memory can be read. The full size is 100,000
training queries over 1,000,000 passages; ``--scale 0.05`` does a twentieth of both.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.stages import in_own_process

PASSAGES, QUERIES = 1_000_000, 100_000
TRAINING_SHARE = 0.7
"""Of the queries that the synthetic source draws."""
LIMIT_GB = 6.0


def main() -> None:
    """Run the stages one after the other and write what they took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mining", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size")
    parser.add_argument("--depth", type=int, default=100, help="negatives a query")
    parser.add_argument("--dimension", type=int, default=128, help="of the encoder's vectors")
    parser.add_argument("--stages", default="bm25,encoder")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=None, help="folder to keep (default: a temporary one)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/mining.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        options.work = options.work or Path(temporary)
        names = ["collection", *options.stages.split(",")]
        record = {
            "passages": round(PASSAGES * options.scale),
            "queries": round(QUERIES * options.scale),
            "depth": options.depth,
            "dimension": options.dimension,
            "threads": options.threads,
            "stages": {name: in_own_process(STAGES[name], options) for name in names},
        }
    worst = max(stage["peak_gb"] for stage in record["stages"].values())
    record |= {"peak_gb": worst, "below_limit": worst < LIMIT_GB, "limit_gb": LIMIT_GB}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


def _collection(options: argparse.Namespace) -> Any:
    from retrieval.data import sources
    from retrieval.data.collection import open_collection
    from retrieval.data.sources.synthetic import SyntheticConfig

    config = SyntheticConfig(
        passages=round(PASSAGES * options.scale),
        queries=round(QUERIES * options.scale / TRAINING_SHARE),
        topics=500,
        words=20_000,
        domains=0,
    )
    cache = options.work / "cache"
    return open_collection(sources.prepare(config, cache).in_domain, cache)


def _draw(options: argparse.Namespace) -> dict[str, Any]:
    from retrieval.search.mining import training_queries

    collection = _collection(options)
    return {"training_queries": len(training_queries(collection)), **collection.counts}


def _bm25(options: argparse.Namespace) -> dict[str, Any]:
    return _mine("bm25", options)


def _encoder(options: argparse.Namespace) -> dict[str, Any]:
    from retrieval.config import ModelConfig
    from retrieval.data.tokens import train_wordpiece
    from retrieval.models.families import build_scorer

    texts = (text for _, (_, text) in zip(range(20_000), _collection(options).passages(), strict=False))
    tokenizer = train_wordpiece(texts, 8000)
    shape = ModelConfig(layers=2, hidden=128, init="scratch", projection=options.dimension)
    folder = options.work / "encoder"
    build_scorer(shape, tokenizer, 0, "32").export(tokenizer, (32, 64), folder)
    return _mine(str(folder), options)


def _mine(source: str, options: argparse.Namespace) -> dict[str, Any]:
    from retrieval.data.negatives import NegativeLists
    from retrieval.search.mining import mine

    lists = NegativeLists.open(mine(_collection(options), source, options.depth, options.work / "cache"))
    return {"lists": lists.counts}


STAGES = {"collection": _draw, "bm25": _bm25, "encoder": _encoder}


if __name__ == "__main__":
    main()
