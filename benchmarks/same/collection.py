"""A tiny collection in BEIR format, the same at every call: four domains, a folder each."""

from __future__ import annotations

import json
import random
from pathlib import Path

SPLITS = {
    "inside": {"train": 60, "dev": 16, "test": 24},
    "robust": {"train": 40, "dev": 16},
    "robust-dev": {"dev": 16},
    "outside": {"test": 24},
}
"""Domain -> split -> queries; twice as many passages answer nothing."""

TOPICS, WORDS = 8, 30


def write_collection(folder: Path) -> None:
    """Write the domains below ``folder``."""
    for number, (domain, splits) in enumerate(SPLITS.items()):
        _write_domain(folder / domain, splits, random.Random(number), f"d{number}")


def _write_domain(folder: Path, splits: dict[str, int], draw: random.Random, prefix: str) -> None:
    (folder / "qrels").mkdir(parents=True)
    total = sum(splits.values())
    topics = [[f"{prefix}t{topic}w{word}" for word in range(WORDS)] for topic in range(TOPICS)]
    passages, queries = [], []
    for number in range(3 * total):
        words = draw.choices(topics[number % TOPICS], k=draw.randint(8, 30))
        passages.append({"_id": f"p{number}", "title": words[0], "text": " ".join(words)})
        if number < total:
            queries.append({"_id": f"q{number}", "text": " ".join(draw.sample(words, 4))})
    _write_lines(folder / "corpus.jsonl", [json.dumps(passage) for passage in passages])
    _write_lines(folder / "queries.jsonl", [json.dumps(query) for query in queries])
    first = 0
    for split, count in splits.items():
        rows = [f"q{number}\tp{number}\t1" for number in range(first, first + count)]
        _write_lines(folder / "qrels" / f"{split}.tsv", ["query-id\tcorpus-id\tscore", *rows])
        first += count


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
