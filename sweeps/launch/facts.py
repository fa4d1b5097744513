"""What is known of a cell before it runs, under the names it has in ``result.json``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from retrieval.config import Config, ModelConfig, model_name
from retrieval.run.identity import data_label
from retrieval.training.strategy import strategy_of
from sweeps.launch.need import encoder_parameters
from sweeps.launch.shape import checkpoint_shape, foreign_folder, shaped, vocabulary

POSITIONS, SEGMENTS, NORM = 512, 2, 2
"""Rows of BERT's position and segment tables, and vectors of the layer norm behind them."""


def facts(config: DictConfig) -> dict[str, Any]:
    """Every key of the configuration by its dotted name, and what follows from them.

    ``size/…`` are parameters; those of a pretrained checkpoint follow from its ``config.json``, whatever its
    architecture, where that is in a local folder, and else from ``model.layers`` and ``model.hidden`` and
    BERT's vocabulary.
    """
    sizes = parameters(config.model, vocabulary(config))
    flat = _flatten(cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)))
    return {
        **flat,
        **sizes,
        "model": model_name(config.model),
        "data": data_label(config),
        "frac": float(config.data.frac),
        "strategy": str(config.strategy.name),
        "base_strategy": strategy_of(cast(Config, config).strategy).base_name,
    }


def parameters(model: DictConfig | ModelConfig, vocabulary: int) -> dict[str, int]:
    """``size/params_…`` of an encoder; ``vocabulary``: words of a tokenizer trained on the collection."""
    folder = foreign_folder(model)
    if folder is not None:
        return _sizes(*_counted(str(folder), int(model.projection), str(model.family)))
    shape = checkpoint_shape(model)
    if shape is not None:
        vocabulary = int(shape["vocab_size"])
    model = shaped(model)
    non_embedding = encoder_parameters(model)
    embedding = (vocabulary + POSITIONS + SEGMENTS + NORM) * int(model.hidden)
    return _sizes(non_embedding, embedding)


@cache
def _counted(folder: str, projection: int, family: str) -> tuple[int, int]:
    """N and embeddings of a checkpoint of any architecture, counted as a run counts them."""
    from retrieval.models.families import unloaded_scorer

    counted = unloaded_scorer(folder, ModelConfig(family=family, projection=projection)).groups().counts()
    return counted["non_embedding"], counted["embedding"]


def _sizes(non_embedding: int, embedding: int) -> dict[str, int]:
    """``size/params_…`` of an encoder with that many parameters outside embeddings, and in them."""
    return {
        "size/params_non_embedding": non_embedding,
        "size/params_embedding": embedding,
        "size/params_total": non_embedding + embedding,
    }


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
