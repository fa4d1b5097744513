"""The suite's nDCG@10 of a sentence-transformers model is what beir's own search and metrics give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beir.datasets.data_loader import GenericDataLoader
from beir.retrieval.evaluation import EvaluateRetrieval
from beir.retrieval.search.dense import DenseRetrievalExactSearch

from retrieval.config import EvalConfig
from retrieval.data.collection import Collection, open_collection
from retrieval.data.tokens import train_wordpiece
from retrieval.evaluation.suite import build_sets, evaluate_suite
from retrieval.search.sentence_transformer import sentence_transformer_retriever

NAMES = ("scifact", "cosqa", "climate-fever-sent")


class BeirModel:
    """A sentence-transformers model as beir's search wants it."""

    def __init__(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer

        self.model = SentenceTransformer(str(folder), device="cpu")

    def encode_queries(self, queries: list[str], **_: Any) -> np.ndarray:
        return self.model.encode_query(queries, show_progress_bar=False)

    def encode_corpus(self, corpus: list[dict[str, str]], **_: Any) -> np.ndarray:
        texts = [f"{record['title'] or ''} {record['text']}".strip() for record in corpus]
        return self.model.encode_document(texts, show_progress_bar=False)


def save_model(collection: Collection, folder: Path) -> Path:
    """A model on disk: the mean of one random vector a word, so that texts which share words are close."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    words = train_wordpiece((text for _, text in collection.passages()), 8000)
    weights = np.random.default_rng(0).normal(size=(len(words), 64)).astype(np.float32)
    module = StaticEmbedding(words.backend_tokenizer, embedding_weights=weights)
    model = SentenceTransformer(modules=[module], similarity_fn_name="cosine", device="cpu")
    model.save(str(folder), create_model_card=False)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_sentence_transformers_model(shared: Path, tmp_path: Path, name: str) -> None:
    folder = shared / "collections" / name
    if not folder.is_dir():
        pytest.skip(f"no collection {name}")
    config = EvalConfig(max_queries=None, pool=None, bm25=False)
    collection = open_collection(folder, tmp_path)
    model = save_model(collection, tmp_path / "model")
    sets = build_sets(collection, {}, config)
    measured = evaluate_suite(sentence_transformer_retriever(model), sets, config, tmp_path).metrics

    corpus, queries, qrels = GenericDataLoader(str(folder)).load(split="test")
    # beir's search leaves out passages with the query's own id; here none of them is relevant.
    assert not any(query in relevant for query, relevant in qrels.items())
    exact = DenseRetrievalExactSearch(BeirModel(model), batch_size=64)
    search = EvaluateRetrieval(exact, score_function="cos_sim")
    ndcg, _, recall, _ = EvaluateRetrieval.evaluate(qrels, search.retrieve(corpus, queries), [10, 100])
    assert measured["eff/ndcg@10"] == pytest.approx(ndcg["NDCG@10"], abs=1e-4)
    assert measured["eff/recall@100"] == pytest.approx(recall["Recall@100"], abs=1e-4)
    assert measured["eff/ndcg@10"] > 0.03
