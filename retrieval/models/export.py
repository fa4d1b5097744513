"""The encoder as a sentence-transformers folder (safetensors), and back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from retrieval.models.encoder import DualEncoder


def save_sentence_transformer(
    encoder: DualEncoder, tokenizer: Any, query_length: int, passage_length: int, folder: Path
) -> None:
    """Write ``folder`` so that ``SentenceTransformer(folder)`` gives the encoder's vectors.

    ``query_length``, ``passage_length``: tokens that ``encode_query`` and ``encode_document`` keep
    (``encode`` keeps ``passage_length``). The folder is written under a temporary name and renamed.
    """
    from sentence_transformers import SentenceTransformer

    temporary = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    source = temporary / "source"
    encoder.backbone.save_pretrained(str(source), safe_serialization=True)  # type: ignore[operator]
    tokenizer.save_pretrained(str(source))
    model = SentenceTransformer(
        modules=_modules(encoder, source, query_length, passage_length),
        device="cpu",
        similarity_fn_name="dot",
    )
    model.save(str(temporary), safe_serialization=True, create_model_card=False)
    shutil.rmtree(source)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def _modules(encoder: DualEncoder, source: Path, query_length: int, passage_length: int) -> list[nn.Module]:
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    config = encoder.config
    hidden = int(encoder.backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
    transformer = Transformer(
        str(source),
        model_kwargs={"add_pooling_layer": False} if encoder.packed else None,
        max_seq_length=passage_length,
        query_length=query_length,
        document_length=passage_length,
    )
    modules: list[nn.Module] = [transformer, Pooling(hidden, pooling_mode=config.pooling)]
    # The scale of the scores is part of the vectors; a linear layer is the module that can hold it.
    scale = config.temperature**-0.5
    cosine = config.similarity == "cosine"
    if encoder.projection is not None:
        factor = 1.0 if cosine else scale
        weight, bias = encoder.projection.weight * factor, encoder.projection.bias * factor
        modules.append(_dense(Dense, weight, bias))
    elif scale != 1.0 and not cosine:
        modules.append(_dense(Dense, torch.eye(hidden) * scale, None))
    if cosine:
        modules.append(Normalize())
        if scale != 1.0:
            modules.append(_dense(Dense, torch.eye(encoder.dimension) * scale, None))
    return modules


def _dense(kind: Any, weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer: nn.Module = kind(
        in_features=weight.shape[1],
        out_features=weight.shape[0],
        bias=bias is not None,
        activation_function=nn.Identity(),
    )
    with torch.no_grad():
        layer.linear.weight.copy_(weight)  # type: ignore[union-attr, operator]
        if bias is not None:
            layer.linear.bias.copy_(bias)  # type: ignore[union-attr, operator]
    return layer
