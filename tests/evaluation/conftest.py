"""Small collections and evaluation sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retrieval.data.collection import Collection, open_collection
from retrieval.data.testset import EvaluationSet

MakeCollection = Callable[..., Collection]
MakeSet = Callable[..., EvaluationSet]


def load_scores(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of queries and of pairs that ``save_scores`` wrote."""
    return pd.read_parquet(folder / "queries.parquet"), pd.read_parquet(folder / "pairs.parquet")


@pytest.fixture
def make_collection(tmp_path: Path) -> MakeCollection:
    """Write a BEIR folder with ``qrels`` = split -> [(query id, passage id, grade)] and open it."""

    def make(
        passages: Sequence[tuple[str, str]],
        queries: Sequence[tuple[str, str]],
        qrels: dict[str, list[tuple[str, str, int]]],
        name: str = "collection",
    ) -> Collection:
        folder = tmp_path / name
        (folder / "qrels").mkdir(parents=True)
        corpus = (json.dumps({"_id": key, "title": "", "text": text}) for key, text in passages)
        (folder / "corpus.jsonl").write_text("\n".join(corpus) + "\n")
        lines = (json.dumps({"_id": key, "text": text}) for key, text in queries)
        (folder / "queries.jsonl").write_text("\n".join(lines) + "\n")
        for split, judgements in qrels.items():
            rows = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in judgements)]
            (folder / "qrels" / f"{split}.tsv").write_text("\n".join(rows) + "\n")
        return open_collection(folder, tmp_path / "cache")

    return make


@pytest.fixture
def numbered_collection(make_collection: MakeCollection) -> MakeCollection:
    """Make a collection in which passage ``p7`` is ``word7 common`` and query ``q7`` asks for it.

    The first ``queries`` queries are the test split, the next ``dev`` the dev split; none of 0 is there.
    """

    def make(passages: int = 400, queries: int = 60, name: str = "collection", dev: int = 0) -> Collection:
        rows = {"test": range(queries), "dev": range(queries, queries + dev)}
        return make_collection(
            [(f"p{index}", f"word{index} common") for index in range(passages)],
            [(f"q{index}", f"word{index}") for index in range(queries + dev)],
            {name: [(f"q{index}", f"p{index}", 1) for index in of] for name, of in rows.items() if of},
            name,
        )

    return make


def evaluation_set(
    relevant: Sequence[Sequence[int]],
    pool: int,
    *,
    grades: Sequence[int] | None = None,
    identical: Sequence[int] | None = None,
    passage_rows: Sequence[int] | None = None,
) -> EvaluationSet:
    """Return a set without files: ``relevant`` lists each query's relevant columns."""
    columns = np.array([column for row in relevant for column in row], dtype=np.int64)
    rows = np.arange(pool) if passage_rows is None else np.array(passage_rows)
    collection: Any = SimpleNamespace(
        counts={"passages": pool},
        query_ids=lambda rows: [f"q{row}" for row in rows],
        passage_ids=lambda rows: [f"p{row:06d}" for row in rows],
    )
    return EvaluationSet(
        name="stand-in",
        collection=collection,
        split="test",
        query_rows=np.arange(len(relevant)),
        passage_rows=rows,
        indptr=np.cumsum([0, *map(len, relevant)]),
        columns=columns,
        grades=np.ones(len(columns), dtype=np.int32) if grades is None else np.array(grades, dtype=np.int32),
        identical=np.full(len(relevant), -1) if identical is None else np.array(identical),
        fingerprint="stand-in",
    )


@pytest.fixture(scope="session")
def make_set() -> MakeSet:
    """Make a set without files from each query's relevant columns and the size of the pool."""
    return evaluation_set
