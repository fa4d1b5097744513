"""What is known of a cell before it runs: its configuration, and shape and size of its encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from retrieval.config import Config, ModelConfig, model_name
from retrieval.run.files import read_json
from retrieval.run.identity import data_label, leaves
from retrieval.training.strategy import strategy_of

Model = DictConfig | ModelConfig

POSITIONS, SEGMENTS, NORM = 512, 2, 2
"""Rows of BERT's position and segment tables, and vectors of the layer norm behind them."""

PRETRAINED_VOCABULARY = 30_522
"""Words of the published BERT checkpoints."""

BERT_KEYS = {"vocab_size", "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size"}
"""Keys of a BERT's ``config.json``."""


def facts(config: DictConfig) -> dict[str, Any]:
    """Every key of the configuration by its dotted name, and what follows from them, as in ``result.json``.

    ``size/…`` are parameters; those of a pretrained checkpoint follow from its ``config.json``, whatever its
    architecture, where that is in a local folder, and else from ``model.layers`` and ``model.hidden`` and
    BERT's vocabulary.
    """
    return {
        **leaves(OmegaConf.to_container(config, resolve=True)),
        **parameters(config.model, vocabulary(config)),
        "model": model_name(config.model),
        "data": data_label(config),
        "frac": float(config.data.frac),
        "strategy": str(config.strategy.name),
        "base_strategy": strategy_of(cast(Config, config).strategy).base_name,
    }


@dataclass(frozen=True)
class Shape:
    """Layers and widths of an encoder such as BERT."""

    layers: int
    hidden: int
    intermediate: int
    projection: int
    """Width of the vectors; 0 = none but ``hidden``."""

    @classmethod
    def of(cls, model: Model) -> Shape:
        """The shape that a configuration means: its checkpoint's, where that can be read."""
        found = _bert_checkpoint(model)
        if found is None:
            widths = model.layers, model.hidden, model.intermediate or 4 * int(model.hidden)
        else:
            widths = found["num_hidden_layers"], found["hidden_size"], found["intermediate_size"]
        layers, hidden, intermediate = map(int, widths)
        return cls(layers, hidden, intermediate, int(model.projection))

    @property
    def weights(self) -> int:
        """Weights of the linear layers, without the projection."""
        return self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.intermediate)

    @property
    def parameters(self) -> int:
        """Non-embedding parameters: ``12H² + 13H`` a layer if ``intermediate`` = 4H, and the projection."""
        biases_and_norms = self.layers * (9 * self.hidden + self.intermediate)
        projection = (self.hidden + 1) * self.projection
        return self.weights + biases_and_norms + projection

    def flops(self, tokens: float, attended: float) -> float:
        """FLOPs of a forward pass of one text, a multiply-add as 2; ``attended``: its length squared."""
        attention = 4 * self.hidden * self.layers * attended
        return 2 * self.weights * tokens + attention + 2 * self.hidden * self.projection


def parameters(model: Model, vocabulary: int) -> dict[str, int]:
    """``size/params_…`` of an encoder; ``vocabulary``: words of a tokenizer trained on the collection."""
    folder = _other_architecture(model)
    if folder is not None:
        return _counted(str(folder), int(model.projection), str(model.family))
    found, shape = _bert_checkpoint(model), Shape.of(model)
    words = vocabulary if found is None else int(found["vocab_size"])
    return _sizes(shape.parameters, (words + POSITIONS + SEGMENTS + NORM) * shape.hidden)


def vocabulary(config: DictConfig) -> int:
    """Words of the tokenizer that a configuration means, where its data are not at hand."""
    found = _bert_checkpoint(config.model)
    if found is not None:
        return int(found["vocab_size"])
    return PRETRAINED_VOCABULARY if config.model.init == "pretrained" else int(config.data.vocabulary)


@cache
def _counted(folder: str, projection: int, family: str) -> dict[str, int]:
    """Sizes of a checkpoint of any architecture, counted as a run counts them."""
    from retrieval.models.families import unloaded_scorer

    counted = unloaded_scorer(folder, ModelConfig(family=family, projection=projection)).groups().counts()
    return _sizes(counted["non_embedding"], counted["embedding"])


def _sizes(non_embedding: int, embedding: int) -> dict[str, int]:
    return {
        "size/params_non_embedding": non_embedding,
        "size/params_embedding": embedding,
        "size/params_total": non_embedding + embedding,
    }


def _bert_checkpoint(model: Model) -> Mapping[str, Any] | None:
    """The ``config.json`` of a checkpoint in a local folder that has a BERT's keys, else ``None``."""
    return next((found for _, found in _local_checkpoints(model) if set(found) >= BERT_KEYS), None)


def _other_architecture(model: Model) -> Path | None:
    """The local folder of a pretrained checkpoint of another architecture than BERT, else ``None``."""
    typed = (place for place in _local_checkpoints(model) if "model_type" in place[1])
    folder, found = next(typed, (None, {"model_type": "bert"}))
    return None if found["model_type"] == "bert" else folder


def _local_checkpoints(model: Model) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Local folders where a pretrained checkpoint may be, each with its ``config.json``."""
    if model.init != "pretrained" or not model.pretrained:
        return
    for folder in (Path(model.pretrained), Path(model.pretrained) / "0_Transformer"):
        found = read_json(folder / "config.json")
        if found is not None:
            yield folder, found
