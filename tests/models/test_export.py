from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.data.layout import group_tokens
from retrieval.models.families import build_scorer
from tests.models.conftest import SMALL_ROUNDINGS, small_model
from tests.rounding import assert_vectors

VARIANTS = [
    {},
    {"pooling": "cls"},
    {"projection": 0},
    {"temperature": 4.0},
    {"projection": 0, "temperature": 4.0},
    {"similarity": "cosine", "temperature": 0.05},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_sentence_transformers_gives_the_same_vectors(
    changes: dict[str, Any], texts: list[str], tokenizer: Any, model_folder: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = build_scorer(small_model(**changes), tokenizer, seed=3, precision="32").eval()
    encoder.export(tokenizer, (8, 24), model_folder)
    loaded = SentenceTransformer(str(model_folder), device="cpu")
    for limit, encode in ((8, loaded.encode_query), (24, loaded.encode_document), (24, loaded.encode)):
        encoded = tokenizer(texts[:20], truncation=True, max_length=limit)["input_ids"]
        batch = group_tokens(np.concatenate(encoded), np.array([len(ids) for ids in encoded]))
        expected = encoder(batch).detach().numpy()
        assert_vectors(encode(texts[:20]), expected, SMALL_ROUNDINGS)
    assert loaded.similarity_fn_name == "dot"
    assert not list(model_folder.rglob("*.bin"))


def test_a_saved_model_is_a_pretrained_backbone(texts: list[str], tokenizer: Any, model_folder: Path) -> None:
    encoder = build_scorer(small_model(projection=0), tokenizer, seed=3, precision="32").eval()
    encoder.export(tokenizer, (8, 24), model_folder)
    config = small_model(init="pretrained", pretrained=str(model_folder), projection=0)
    again = build_scorer(config, tokenizer, seed=9, precision="32").eval()
    encoded = tokenizer(texts[:5], truncation=True, max_length=24)["input_ids"]
    batch = group_tokens(np.concatenate(encoded), np.array([len(ids) for ids in encoded]))
    assert_vectors(again(batch), encoder(batch), SMALL_ROUNDINGS)
