"""Any sentence-transformers model as an encoder of the evaluation suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import ConfigError
from retrieval.evaluation.ranking import FloatArray
from retrieval.evaluation.suite import Encode
from retrieval.evaluation.testset import EvaluationSet


def sentence_transformer_encoder(
    model: str | Path, *, batch_size: int = 64, temperature: float = 1.0, device: str | None = None
) -> Encode:
    """Return an encoder around a sentence-transformers folder or hub id.

    Queries and passages get the prompts that the model defines for them. Vectors of a model whose
    similarity is cosine are normalised, so that inner products are its scores.

    Args:
        model: Local folder or hub id.
        batch_size: Texts a forward pass.
        temperature: Scores are divided by it; contrastive entropy depends on it, rankings do not.
        device: A torch device; ``None`` lets sentence-transformers choose.

    Raises:
        ConfigError: The model cannot be loaded, or its scores are not inner products of its vectors.
    """
    encoder = _load(model, device)
    similarity = encoder.similarity_fn_name or "cosine"
    if similarity not in ("cosine", "dot"):
        raise ConfigError(
            f"{model}: similarity {similarity!r} is not an inner product; use a cosine or dot model"
        )

    def encode(evaluation_set: EvaluationSet) -> tuple[FloatArray, FloatArray]:
        options = {
            "batch_size": batch_size,
            "normalize_embeddings": similarity == "cosine",
            "show_progress_bar": False,
            "convert_to_numpy": True,
        }
        queries = encoder.encode_query(evaluation_set.queries(), **options).astype(np.float32)
        passages = np.empty((len(evaluation_set.passage_rows), queries.shape[1]), dtype=np.float32)
        start = 0
        for texts in evaluation_set.passage_blocks():
            passages[start : start + len(texts)] = encoder.encode_document(texts, **options)
            start += len(texts)
        return queries / np.float32(temperature), passages

    return encode


def _load(model: str | Path, device: str | None) -> Any:
    from sentence_transformers import SentenceTransformer

    if isinstance(model, Path) and not model.is_dir():
        raise ConfigError(f"{model}: no such folder; give a sentence-transformers folder or a hub id")
    try:
        return SentenceTransformer(str(model), device=device)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"{model}: not loadable as a sentence-transformers model: {reason}") from error
