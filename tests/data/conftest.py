"""Fixtures of the data tests: small BEIR folders written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from retrieval.data.sources import download
from tests.data.serving import Served, serve

WriteCollection = Callable[..., Path]

QRELS_HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def write_collection(tmp_path: Path) -> WriteCollection:
    """Function that writes a BEIR folder of a few records under ``tmp_path`` and returns it."""

    def write(
        name: str = "small",
        passages: Mapping[str, str] | Sequence[Mapping[str, Any]] | None = None,
        queries: Mapping[str, str] | None = None,
        **qrels: Sequence[tuple[str, str, int]],
    ) -> Path:
        folder = tmp_path / name
        (folder / "qrels").mkdir(parents=True)
        chosen = passages or {"p1": "first passage", "p2": "second passage", "p3": "third passage"}
        records = (
            [{"_id": key, "title": "", "text": text} for key, text in chosen.items()]
            if isinstance(chosen, Mapping)
            else list(chosen)
        )
        asked = queries or {"q1": "which is first", "q2": "which is second"}
        judged = qrels or {"train": [("q1", "p1", 1)], "test": [("q2", "p2", 1)]}
        (folder / "corpus.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        lines = [json.dumps({"_id": key, "text": text}) + "\n" for key, text in asked.items()]
        (folder / "queries.jsonl").write_text("".join(lines))
        for split, rows in judged.items():
            body = "".join(f"{query}\t{passage}\t{score}\n" for query, passage, score in rows)
            (folder / "qrels" / f"{split}.tsv").write_text(QRELS_HEADER + body)
        return folder

    return write


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A local server without files; tries follow each other at once."""
    monkeypatch.setattr(download, "PAUSE", 0.0)
    state = Served()
    server = serve(state)
    yield state
    server.shutdown()
    server.server_close()
