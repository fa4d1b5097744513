"""A tiny random encoder, a pool of made-up words and a file of synonyms to attack it with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.config import AttackConfig, EvalConfig, ModelConfig
from retrieval.config.data import DataConfig
from retrieval.data.arrays import FloatArray
from retrieval.data.collection import open_collection
from retrieval.data.testset import EvaluationSet, build_evaluation_set
from retrieval.data.tokens import TokenStores, train_wordpiece
from retrieval.evaluation.adversarial.evaluation import AttackEvaluation
from retrieval.evaluation.substitution.options import WsraConfig
from retrieval.evaluation.suite import Measured
from retrieval.models.families import build_scorer
from retrieval.models.scorer import Scorer
from retrieval.search.retriever import ScorerRetriever
from tests.rounding import encoder_roundings, gamma

WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]
SYNONYMS = {
    word: [WORDS[(index + step) % len(WORDS)] for step in (1, 7, 31)] for index, word in enumerate(WORDS)
}
PASSAGE_LENGTH = 24
COMMON: dict[str, Any] = {"queries": 3, "targets": 2, "first_rank": 21, "last_rank": 50, "similarity": -1.0}
"""Keys of attacks other than ``wsra`` on the small pool."""
EVALUATION = EvalConfig(negatives=40, draws=3, pool=None, max_queries=None)


@dataclass
class Setup:
    """Everything an attack needs; read-only, shared by the tests of a session."""

    encoder: Scorer
    tokenizer: Any
    part: EvaluationSet
    query_vectors: FloatArray
    passage_vectors: FloatArray
    synonyms: Path

    @property
    def roundings(self) -> int:
        """On the way of a text through the encoder."""
        shape = self.encoder.backbone.config
        return encoder_roundings(shape.num_hidden_layers, shape.hidden_size, PASSAGE_LENGTH)  # type: ignore[union-attr, arg-type]

    @property
    def score_bound(self) -> float:
        """How far two scores of one text may be apart, encoded and multiplied among others or alone."""
        lengths = [np.linalg.norm(part, axis=1).max() for part in (self.query_vectors, self.passage_vectors)]
        return 2 * gamma(self.roundings + self.query_vectors.shape[1]) * float(lengths[0] * lengths[1])

    @property
    def model(self) -> ScorerRetriever:
        return retriever_of(self.encoder, self.tokenizer)

    def config(self, **changes: Any) -> AttackConfig:
        values: dict[str, Any] = {
            "name": "wsra",
            "queries": 4,
            "targets": 3,
            "first_rank": 21,
            "last_rank": 50,
            "words": 4,
            "tries": None,
            "synonyms": str(self.synonyms),
            "similarity": -1.0,
        }
        return WsraConfig(**{**values, **changes})

    def attack(self, **changes: Any) -> Measured:
        return self.attacked(self.config(**changes))

    def attacked(self, config: AttackConfig) -> Measured:
        attack = AttackEvaluation.load(config)
        assert attack is not None
        vectors = self.query_vectors, self.passage_vectors
        return attack.run(self.model, self.part, vectors, EVALUATION, progress=False)


def retriever_of(encoder: Scorer, tokenizer: Any, length: int = PASSAGE_LENGTH) -> ScorerRetriever:
    """Of texts that are in no collection, for which no token store is opened."""
    data = DataConfig(max_query_length=length, max_passage_length=length)
    return ScorerRetriever(encoder, TokenStores(data, Path("nowhere"), tokenizer, ""))


def make_setup(folder: Path, words: Sequence[str] = WORDS) -> Setup:
    random = np.random.default_rng(5)
    passages = [" ".join(random.choice(words, random.integers(3, 30))) for _ in range(150)]
    queries = [" ".join(random.choice(words, 4)) for _ in range(8)]
    (folder / "qrels").mkdir(parents=True)
    corpus = (json.dumps({"_id": f"p{i}", "title": "", "text": text}) for i, text in enumerate(passages))
    (folder / "corpus.jsonl").write_text("\n".join(corpus) + "\n")
    lines = (json.dumps({"_id": f"q{i}", "text": text}) for i, text in enumerate(queries))
    (folder / "queries.jsonl").write_text("\n".join(lines) + "\n")
    # Every query has some thirty relevant passages, so that targets often stand beside them.
    judged = [f"q{q}\tp{p}\t1" for q in range(8) for p in range(150) if (p * 7 + q) % 5 == 0]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    synonyms = folder / "synonyms.json"
    synonyms.write_text(json.dumps(SYNONYMS))
    part = build_evaluation_set(open_collection(folder, folder / "cache"), "test", EVALUATION)
    tokenizer = train_wordpiece(passages, 300)
    shape = ModelConfig(layers=2, hidden=32, heads=2, init="scratch", projection=16)
    encoder = build_scorer(shape, tokenizer, seed=3, precision="32").eval()
    # A fresh encoder maps all texts to nearly one vector; larger embeddings let the words matter.
    encoder.backbone.get_input_embeddings().weight.data.mul_(20)  # type: ignore[operator]
    model = retriever_of(encoder, tokenizer)
    vectors = model.encode_texts(queries, "queries"), model.encode_texts(passages, "passages")
    return Setup(encoder, tokenizer, part, *vectors, synonyms)
