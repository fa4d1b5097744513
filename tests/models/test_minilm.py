"""all-MiniLM-L6-v2 on real text, where ``PARETRIEVE_MINILM`` names its folder."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from retrieval.config import ModelConfig
from retrieval.config.data import DataConfig
from retrieval.data.collection import open_collection
from retrieval.data.tokens import TokenStores, load_tokenizer, tokenizer_fingerprint
from retrieval.models.checkpoint import read_checkpoint
from retrieval.models.families import build_scorer
from retrieval.search.retriever import ScorerRetriever
from tests.rounding import assert_vectors, encoder_roundings

pytestmark = pytest.mark.slow

TEXTS = 96
ROUNDINGS = encoder_roundings(layers=6, hidden=384, tokens=256)


@pytest.fixture
def folder() -> Path:
    named = os.environ.get("PARETRIEVE_MINILM")
    if not named:
        pytest.skip("PARETRIEVE_MINILM names no folder of all-MiniLM-L6-v2")
    return Path(named)


def test_step_0_is_the_folder(folder: Path, shared: Path, tmp_path: Path) -> None:
    collection = open_collection(shared / "collections" / "wikiqa", tmp_path)
    found = read_checkpoint(str(folder))
    assert found.lengths == (256, 256)
    assert found.after == (("Normalize", "2_Normalize"),)
    tokenizer = load_tokenizer(found.backbone)
    config = ModelConfig(init="pretrained", pretrained=str(folder), temperature=1.0)
    scorer = build_scorer(config, tokenizer, 1, "32").eval()
    data = DataConfig(name="local", max_query_length=256, max_passage_length=256)
    stores = TokenStores(data, tmp_path, tokenizer, tokenizer_fingerprint(tokenizer), scorer.prompts)
    retriever = ScorerRetriever(scorer, stores)
    model = SentenceTransformer(str(folder), device="cpu")
    sides = (("queries", collection.queries()), ("passages", collection.passages()))
    for side, records in sides:
        texts = [text for _, text in itertools.islice(records, TEXTS)]
        found = retriever.encode_texts(texts, side)  # type: ignore[arg-type]
        assert_vectors(found, model.encode(texts), ROUNDINGS)
