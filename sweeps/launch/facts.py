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
from retrieval.config.strategy import PERTURBATIONS
from retrieval.data.arrays import BYTES_AT_ONCE
from retrieval.run.identity import data_label, leaves
from retrieval.training.strategy import PERTURBED, strategy_of

Model = DictConfig | ModelConfig

POSITIONS, SEGMENTS, NORM = 512, 2, 2
"""Rows of BERT's position and segment tables, and vectors of the layer norm behind them."""

MULTI_VECTOR, FLAGS = "multi-vector", 2
"""The family with a vector a token, and the numbers beside each in a row."""

PRETRAINED_VOCABULARY = 30_522
"""Words of the published BERT checkpoints."""


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
    shape = Shape(layers, hidden, weights, after, dimension, interaction, with_logits)
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


FILL = {"query": 0.4, "passage": 0.75}
"""Typical length of a text as a share of its maximum, where its data are not at hand."""

UNCAPPED = {"queries": 10_000, "passages": 100_000}
"""Texts of a test set assumed for ``eval=full`` where its data are not at hand."""

ACTIVATION_BYTES = {"bf16": 48, "32": 80}
"""Kept per token, layer and hidden unit for the backward pass (BERT-base, bf16: 1.3 GB for 3,100 tokens)."""

DROPOUT_BYTES = 24
"""More of them with dropout: masks and room (0.06 to 0.1 GiB for BERT-mini, before halves of layers became
operations of their own, which keep the masks alone)."""


LOGIT_BYTES = 24
"""Kept per text and word in a training step where a text has a weight for each word: maxima, their tokens,
functions of them and gradients."""

ASSUMED_ROWS = 256
"""First number of the shape of a text's row in host memory, where it is known only when texts are encoded."""


@dataclass(frozen=True)
class Contents:
    """What the texts of a run's data are like; lengths in tokens."""

    query: float
    query_square: float
    """Mean of the squared lengths."""
    passage: float
    passage_square: float
    test_queries: int
    """Encoded in the evaluation, over all test sets."""
    test_passages: int
    vocabulary: int
    """Words of the tokenizer."""
    pairs: int | None = None
    """In-domain training pairs at ``data.frac=1``; ``None`` = not known."""


@dataclass(frozen=True)
class Workload:
    """What a cell computes."""

    step_tokens: float
    """Tokens of the batch of a step."""
    step_flops: float
    evaluation_flops: float
    activations: float
    """Bytes of activations kept for the backward pass of a step."""
    vectors: float = 0.0
    """Bytes of the vectors of the largest test set, taken as an even share of all."""


def assumed_contents(config: DictConfig) -> Contents:
    """Typical contents, from the limits that the configuration sets."""
    query, passage = (FILL[side] * int(config.data[f"max_{side}_length"]) for side in ("query", "passage"))
    sets = 0 if config.eval.name == "none" else _sets(config)
    return Contents(
        query,
        query**2,
        passage,
        passage**2,
        sets * int(config.eval.max_queries or UNCAPPED["queries"]),
        sets * int(config.eval.pool or UNCAPPED["passages"]),
        vocabulary(config),
    )


def training_passes(config: DictConfig, backward_passes: int) -> int:
    """What a step costs in forward passes."""
    backward = 2 if config.model.adapter == NO_ADAPTER else 1
    again = bool(config.train.get("mini_batch_size")) + bool(config.train.gradient_checkpointing)
    return 1 + (backward + again) * backward_passes


def activation_bytes(config: DictConfig, precision: str) -> int:
    """Bytes that are kept per token, layer and hidden unit for the backward pass of ``config``."""
    return ACTIVATION_BYTES[precision] + (DROPOUT_BYTES if config.model.dropout else 0)


def pair_workload(config: DictConfig, contents: Contents, shape: Shape, precision: str) -> Workload:
    """:func:`workload` of a family whose every score is a pass of query and passage, of independent lengths.

    The pair is taken as one special token shorter than both, as BERT joins them.
    """
    strategy, perturbation = strategy_of(cast(Config, config).strategy), config.strategy.perturbation
    both = contents.query + contents.passage
    tokens = both - 1
    square = contents.query_square + contents.passage_square + 2 * contents.query * contents.passage
    pair = shape.flops(tokens, square - 2 * both + 1)
    mini_batch_size = config.train.get("mini_batch_size")
    passes = training_passes(config, strategy.backward_passes)
    ascent = 2 * PERTURBATIONS[perturbation.kind].gradients(perturbation)
    batch, omega = int(config.train.batch_size), config.strategy.omega
    counts = strategy.expected_counts(batch, 0.5 if omega is None else float(omega))
    scored = {
        block: 1
        + strategy.negatives_of(block)
        + min(int(config.model.listed_negatives), (batch if strategy.by_steps else int(count)) - 1)
        for block, count in counts.items()
    }
    listed = sum(count * scored[block] for block, count in counts.items())
    step_flops = passes * listed * pair
    if PERTURBED in counts:
        step_flops += ascent * counts[PERTURBED] * scored[PERTURBED] * pair
    sets = _sets(config) if "data" in config else 1
    of_set = min(int(config.eval.pair_queries), contents.test_queries / sets)
    measured = sets * of_set * (1 + int(config.eval.negatives) + int(config.eval.rerank_depth)) * pair
    if config.eval.get("untrained"):
        measured *= 2
    at_once = min(1.0, (mini_batch_size or listed) / listed)
    kept = activation_bytes(config, precision) * at_once * listed * tokens * shape.layers * shape.hidden
    return Workload(listed * tokens, step_flops, measured, kept)


def _sets(config: DictConfig) -> int:
    """Evaluation sets: the in-domain and the OOD tests, and the dev sets beside them."""
    return 2 + len(config.data.ood) + len(config.data.get("robust_dev") or [])


def workload(config: DictConfig, contents: Contents, precision: str = "bf16") -> Workload:
    """Work of the cell ``config`` on such data; FLOPs count one multiply-add as 2.

    ``precision``: ``bf16`` or ``32``, of the activations.
    """
    shape = Shape.of(config.model, contents.vocabulary)
    strategy = strategy_of(cast(Config, config).strategy)
    if str(config.model.family) in PAIR_FAMILIES:
        return pair_workload(config, contents, shape, precision)
    query = shape.flops(contents.query, contents.query_square)
    passage = shape.flops(contents.passage, contents.passage_square)
    mini_batch_size = config.train.get("mini_batch_size")
    # A frozen backbone takes gradients of its inputs alone.
    passes = training_passes(config, strategy.backward_passes)
    perturbation = config.strategy.perturbation
    # Each gradient is a pass forward, and one backward for the inputs alone.
    ascent = 2 * PERTURBATIONS[perturbation.kind].gradients(perturbation)
    omega = config.strategy.omega
    # Of the mean step, where ω is on average as configured, or ½.
    counts = strategy.expected_counts(int(config.train.batch_size), 0.5 if omega is None else float(omega))
    step_tokens = step_flops = sequences = 0.0
    for block, pairs in counts.items():
        passages = 1 + strategy.negatives_of(block)
        scoring = shape.scoring(contents.query, config.train.batch_size * passages * contents.passage)
        sequences += pairs * (1 + passages)
        step_tokens += pairs * (contents.query + passages * contents.passage)
        step_flops += passes * pairs * (query + passages * passage + scoring)
        if block == PERTURBED and ascent:
            step_flops += pairs * (query + ascent * (passages * passage + scoring))
    sets = _sets(config) if "data" in config else 1
    measured = contents.test_queries * query + contents.test_passages * passage
    # Each query of a set with each of its passages, for the ranking and for contrastive entropy.
    found = shape.scoring(contents.query, contents.test_passages / sets * contents.passage)
    measured += 2 * contents.test_queries * found
    if config.eval.get("untrained"):
        measured *= 2  # once for all runs that start from the same weights; which is first is not known
    most_passages = 1 + strategy.hard_negatives
    most_tokens = sum(counts.values()) * (contents.query + most_passages * contents.passage)
    most_texts = sum(counts.values()) * (1 + most_passages)
    at_once = min(1.0, (mini_batch_size or sequences) / sequences)
    kept = activation_bytes(config, precision)
    texts = (contents.test_queries + contents.test_passages) / sets
    longest = int(config.data.max_passage_length) if "data" in config else 0
    return Workload(
        step_tokens,
        step_flops,
        measured,
        kept * at_once * most_tokens * shape.layers * shape.hidden + LOGIT_BYTES * most_texts * shape.words,
        shape.rows(texts, longest),
    )
