"""What is known of a cell before it runs: its configuration, shape and size of its encoder, and its work."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from retrieval.config import Config, ModelConfig, model_name
from retrieval.config.model import NO_ADAPTER, PAIR_FAMILIES, TOKEN_DIMENSION, vectors_of
from retrieval.data.arrays import BYTES_AT_ONCE
from retrieval.run.identity import data_label, leaves
from retrieval.training.strategy import strategy_of

Model = DictConfig | ModelConfig

POSITIONS, SEGMENTS, NORM = 512, 2, 2
"""Rows of BERT's position and segment tables, and vectors of the layer norm behind them."""

MULTI_VECTOR, FLAGS = "multi-vector", 2
"""The family with a vector a token, and the numbers beside each in a row."""

PRETRAINED_VOCABULARY = 30_522
"""Words of the published BERT checkpoints."""

ASSUMED_ROWS = 256
"""First number of the shape of a text's row in host memory, where it is known only when texts are encoded."""


def facts(config: DictConfig) -> dict[str, Any]:
    """Every key of the configuration by its dotted name, and what follows from them, as in ``result.json``.

    ``size/…`` are parameters. They are counted in the modules, built without weights; but those of a BERT
    from scratch follow from its shape, and a checkpoint of the hub is taken for a BERT of ``model.layers``
    and ``model.hidden`` with the published vocabulary.
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
    """What the cost of an encoder follows from."""

    layers: int
    hidden: int
    weights: int
    """Weights of the linear layers that see every token."""
    after: int = 0
    """Weights of those that see each text, or pair, once."""
    dimension: int = 0
    """Numbers in a vector."""
    interaction: int = 0
    """Multiply-adds of a score for each pair of tokens, where a text has a vector a token."""
    biases_after: int = 0
    words: int = 0
    """Logits of a token, where the head of the model gives one for each word."""

    @classmethod
    def of(cls, model: Model, words: int) -> Shape:
        """The shape that a configuration means: its checkpoint's, where that is in a local folder.

        ``words``: those of a tokenizer trained on the collection.
        """
        return _described(model, words)[0] if _is_built(model) else _of_size(model)

    def scoring(self, query: float, passages: float) -> float:
        """FLOPs of the scores of a query with passages of so many tokens together."""
        return 2 * self.interaction * query * passages

    def rows(self, texts: float, length: int) -> float:
        """Bytes of the encoded texts that an evaluation holds together; ``length``: tokens of one at most."""
        if not self.interaction:
            return 4 * self.dimension * texts
        return min(4.0 * self.dimension * length * texts, BYTES_AT_ONCE)

    def flops(self, tokens: float, attended: float) -> float:
        """FLOPs of a forward pass of one text, a multiply-add as 2; ``attended``: its length squared."""
        attention = 4 * self.hidden * self.layers * attended
        return 2 * self.weights * tokens + attention + 2 * self.after


def _of_size(model: Model) -> Shape:
    layers, hidden = int(model.layers), int(model.hidden)
    inner = int(model.intermediate or 4 * hidden)
    weights = layers * (4 * hidden**2 + 2 * hidden * inner)
    if model.family == MULTI_VECTOR:
        size = int(model.token_dimension or TOKEN_DIMENSION)
        return Shape(layers, hidden, weights + hidden * size, 0, size + FLAGS, size)
    if str(model.family) in PAIR_FAMILIES:  # a pooler and a classifier of one label
        return Shape(layers, hidden, weights, hidden**2 + hidden, 1, biases_after=hidden + 1)
    projection = vectors_of(cast(ModelConfig, model)).projection or 0
    return Shape(layers, hidden, weights, hidden * projection, projection or hidden, biases_after=projection)


def parameters(model: Model, vocabulary: int) -> dict[str, int]:
    """``size/params_…`` of an encoder; ``vocabulary``: words of a tokenizer trained on the collection."""
    if _is_built(model):
        return _described(model, vocabulary)[1]
    shape = _of_size(model)
    # Biases and norms: 12H² + 13H parameters a layer where intermediate = 4H.
    biases = shape.layers * (9 * shape.hidden + int(model.intermediate or 4 * shape.hidden))
    tables = (vocabulary + POSITIONS + SEGMENTS + NORM) * shape.hidden
    return _sizes(shape.weights + biases + shape.after + shape.biases_after, tables)


def vocabulary(config: DictConfig) -> int:
    """Words of the tokenizer that a configuration means, where its data are not at hand."""
    if _is_local(config.model):
        return _described(config.model, _ANY)[2]
    return PRETRAINED_VOCABULARY if config.model.init == "pretrained" else int(config.data.vocabulary)


_ANY = 1
"""Words of a tokenizer where what is asked for does not depend on them."""


def _described(model: Model, words: int) -> tuple[Shape, dict[str, int], int]:
    built = asdict(model) if isinstance(model, ModelConfig) else OmegaConf.to_container(model, resolve=True)
    values = cast(dict[str, Any], built)
    if not _is_local(model):
        values["init"] = "scratch"  # what is on the hub is not looked at
    return _counted(json.dumps(values, sort_keys=True), words)


@cache
def _counted(model: str, words: int) -> tuple[Shape, dict[str, int], int]:
    """Shape, sizes and words of a model (as JSON) of any architecture, counted as a run counts them."""
    import numpy as np

    from retrieval.models.architecture import MASKED_WORDS
    from retrieval.models.families import unloaded_scorer
    from retrieval.models.flops import Work

    config = OmegaConf.merge(OmegaConf.structured(ModelConfig), json.loads(model))
    scorer = unloaded_scorer(cast(ModelConfig, config), words)
    counted, backbone = scorer.groups().counts(), scorer.backbone.config
    # FLOPs of a token without attention, and of a text without tokens, at two a weight.
    weights, after = (int(scorer.flops(work)) // 2 for work in (Work(tokens=1), Work(sequences=1)))
    layers, hidden = int(backbone.num_hidden_layers), scorer.hidden  # type: ignore[union-attr, arg-type]
    first, *others = scorer.row_shape(1)
    dimension = (first or ASSUMED_ROWS) * math.prod(others)
    token = np.ones(1, np.int64)
    interaction = int(scorer.scoring_work(token, token).other) // 2
    with_logits = len(scorer.word_table) if scorer.head == MASKED_WORDS else 0
    shape = Shape(layers, hidden, weights, after, dimension, interaction, words=with_logits)
    sizes = {f"size/params_{part}": number for part, number in counted.items()}
    return shape, sizes, len(scorer.word_table)


def _sizes(non_embedding: int, embedding: int) -> dict[str, int]:
    return {
        "size/params_non_embedding": non_embedding,
        "size/params_embedding": embedding,
        "size/params_total": non_embedding + embedding,
    }


def _is_built(model: Model) -> bool:
    """Whether a model is built without its weights: one that is no BERT from scratch, where that can be."""
    if str(model.family) not in (ModelConfig.family, MULTI_VECTOR, *PAIR_FAMILIES):
        return True
    if model.init == "scratch":
        return str(model.architecture) != ModelConfig.architecture or str(model.adapter) != NO_ADAPTER
    return _is_local(model)


def _is_local(model: Model) -> bool:
    """Whether it is a pretrained checkpoint in a local folder."""
    return model.init == "pretrained" and bool(model.pretrained) and Path(str(model.pretrained)).is_dir()
