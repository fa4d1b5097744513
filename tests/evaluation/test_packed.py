"""A sentence-transformers model by the packed path: the vectors that the library gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from retrieval.errors import ConfigError
from retrieval.search.packed import PackedSentenceTransformer
from retrieval.search.sentence_transformer import sentence_transformer_retriever
from tests.checkpoints import checkpoint_folder

PROMPTS = {"query": "what ", "document": "that "}
TEXTS = ["", "a", "lorem ipsum dolor sit amet", "b " * 90, "ipsum", "dolor sit " * 7] * 5


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Save a tiny BERT with the given modules after it."""

    def make(architecture: str, *modules: str, **options: Any) -> Path:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer import modules as library

        plain = checkpoint_folder(architecture, tmp_path / "plain")
        first = library.Transformer(str(plain), max_seq_length=40)
        size = first.get_embedding_dimension()
        made: dict[str, Callable[[], Any]] = {
            "mean": lambda: library.Pooling(size, "mean"),
            "cls": lambda: library.Pooling(size, "cls"),
            "max": lambda: library.Pooling(size, "max"),
            "dense": lambda: library.Dense(size, 24, activation_function=torch.nn.Tanh()),
            "normalize": library.Normalize,
            "without prompt": lambda: library.Pooling(size, "mean", include_prompt=False),
        }
        model = SentenceTransformer(
            modules=[first, *(made[name]() for name in modules)], device="cpu", **options
        )
        folder = tmp_path / "saved"
        model.save(str(folder), create_model_card=False)
        return folder

    return make


@pytest.mark.parametrize(
    "modules",
    [("mean",), ("cls", "normalize"), ("max", "dense"), ("mean", "dense", "normalize")],
    ids="+".join,
)
# Vectors of length 1; bfloat16 rounds to 2⁻⁸ of a number, several times on the way.
@pytest.mark.parametrize(("precision", "most"), [("32", 1e-5), ("bf16", 1e-2)])
def test_vectors_are_those_of_the_library(
    saved: Callable[..., Path], modules: tuple[str, ...], precision: str, most: float
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = saved("bert", *modules, prompts=PROMPTS, truncate_dim=16)
    library = SentenceTransformer(str(folder), device="cpu", truncate_dim=16)
    ours = sentence_transformer_retriever(folder, device="cpu", precision=precision)
    ours.model.truncate_dim = 16
    assert PackedSentenceTransformer.supports(ours.model)
    for side, encode in (("queries", library.encode_query), ("passages", library.encode_document)):
        expected = encode(TEXTS, normalize_embeddings=True)
        found = ours.encode_texts(TEXTS, side)
        assert found.dtype == np.float32
        assert found.shape == (len(TEXTS), 16)
        assert np.abs(found - expected).max() < most


def test_no_texts_give_no_vectors(saved: Callable[..., Path]) -> None:
    assert (
        len(sentence_transformer_retriever(saved("bert", "mean"), device="cpu").encode_texts([], "passages"))
        == 0
    )


def test_other_architectures_take_the_librarys_own_path(saved: Callable[..., Path]) -> None:
    model = sentence_transformer_retriever(saved("distilbert", "mean"), device="cpu").model
    assert not PackedSentenceTransformer.supports(model)


def test_a_prompt_that_is_not_pooled_is_left_to_the_library(saved: Callable[..., Path]) -> None:
    from sentence_transformers import SentenceTransformer

    folder = saved("bert", "without prompt", prompts=PROMPTS)
    ours = sentence_transformer_retriever(folder, device="cpu")
    assert not PackedSentenceTransformer.supports(ours.model)
    expected = SentenceTransformer(str(folder), device="cpu").encode_query(TEXTS, normalize_embeddings=True)
    assert np.abs(ours.encode_texts(TEXTS, "queries") - expected).max() < 1e-5


def test_a_model_that_lacks_weights_is_refused(saved: Callable[..., Path]) -> None:
    from safetensors.torch import load_file, save_file

    folder = saved("bert", "mean")
    weights = load_file(folder / "model.safetensors")
    dropped = next(name for name in weights if name.endswith("layer.0.output.dense.weight"))
    del weights[dropped]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 1 weights of BertModel, such as encoder\.layer\.0\.output"):
        sentence_transformer_retriever(folder)
