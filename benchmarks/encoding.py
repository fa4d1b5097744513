"""Encoding passages: our length-sorted encoder against ``SentenceTransformer.encode``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.work import model_config, texts, tokenizer, training_pairs
from retrieval.models.encoding import encode_rows
from retrieval.models.families import build_scorer


def ours(size: str, passages: int, precision: str, device: str = "cpu") -> float:
    """Passages per second from the token store."""
    store = training_pairs(passages).passages
    encoder = build_scorer(model_config(size, 0.0), tokenizer(), 1, precision).to(device)
    return _second_pass(lambda: encode_rows(encoder, store, np.arange(passages)), passages)


def sentence_transformers(size: str, passages: int, bf16: bool, device: str = "cpu") -> float:
    """Passages per second of ``encode`` with its defaults (batch 32), tokenising included.

    ``bf16``: the model is loaded in bfloat16 in place of fp32.
    """
    from sentence_transformers import SentenceTransformer

    data = texts(passages).passages
    with tempfile.TemporaryDirectory() as folder:
        encoder = build_scorer(model_config(size, 0.0), tokenizer(), 1, "32")
        encoder.export(tokenizer(), (32, 128), Path(folder) / "model")
        kind = {"dtype": "bfloat16"} if bf16 else {}
        model = SentenceTransformer(str(Path(folder) / "model"), device=device, model_kwargs=kind)
    return _second_pass(lambda: model.encode(data, show_progress_bar=False), passages)


def _second_pass(encode: Callable[[], Any], passages: int) -> float:
    """Passages per second once everything is set up: large models are given fewer than 20,000 here."""
    encode()
    start = time.perf_counter()
    encode()
    return passages / (time.perf_counter() - start)
