"""Shape of the encoder that a configuration means, found without loading it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from retrieval.config import ModelConfig

SHAPE = ("vocab_size", "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
"""Keys of a BERT's ``config.json``."""

PRETRAINED_VOCABULARY = 30_522
"""Words of the published BERT checkpoints."""


def shaped(model: DictConfig | ModelConfig) -> DictConfig | ModelConfig:
    """``model`` with the layers and widths of its checkpoint, where that can be read."""
    shape = checkpoint_shape(model)
    if shape is None:
        return model
    return ModelConfig(
        layers=int(shape["num_hidden_layers"]),
        hidden=int(shape["hidden_size"]),
        heads=int(shape["num_attention_heads"]),
        intermediate=int(shape["intermediate_size"]),
        projection=int(model.projection),
    )


def checkpoint_shape(model: DictConfig | ModelConfig) -> Mapping[str, Any] | None:
    """The ``config.json`` of a checkpoint in a local folder that has a BERT's keys, else ``None``."""
    return next((shape for _, shape in _local(model) if set(SHAPE) <= set(shape)), None)


def foreign_folder(model: DictConfig | ModelConfig) -> Path | None:
    """The local folder of a pretrained checkpoint of another architecture than BERT, else ``None``."""
    for folder, shape in _local(model):
        if "model_type" in shape:
            return folder if shape["model_type"] != "bert" else None
    return None


def _local(model: DictConfig | ModelConfig) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Local folders where a pretrained checkpoint may be, each with its ``config.json``."""
    if model.init != "pretrained" or not model.pretrained:
        return
    for folder in (Path(model.pretrained), Path(model.pretrained) / "0_Transformer"):
        try:
            shape = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(shape, dict):
            yield folder, shape


def vocabulary(config: DictConfig) -> int:
    """Words of the tokenizer that a configuration means, where its data are not at hand."""
    shape = checkpoint_shape(config.model)
    if shape is not None:
        return int(shape["vocab_size"])
    return PRETRAINED_VOCABULARY if config.model.init == "pretrained" else int(config.data.vocabulary)
