"""How much a cell computes: tokens and FLOPs of its training and evaluation, from its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from omegaconf import DictConfig

from retrieval.config import Config
from retrieval.training.strategy import PERTURBED, strategy_of
from sweeps.launch.facts import Shape, vocabulary

FILL = {"query": 0.4, "passage": 0.75}
"""Typical length of a text as a share of its maximum, where its data are not at hand."""

UNCAPPED = {"queries": 10_000, "passages": 100_000}
"""Texts of a test set assumed for ``eval=full`` where its data are not at hand."""

ACTIVATION_BYTES = {"bf16": 48, "32": 80}
"""Kept per token, layer and hidden unit for the backward pass (BERT-base, bf16: 1.3 GB for 3,100 tokens)."""

DROPOUT_BYTES = 24
"""More of them with dropout: masks and room (0.06 to 0.1 GiB for BERT-mini, before halves of layers became
operations of their own, which keep the masks alone)."""


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


def _sets(config: DictConfig) -> int:
    """Evaluation sets: the in-domain and the OOD tests, and the dev sets beside them."""
    return 2 + len(config.data.ood) + len(config.data.get("robust_dev") or [])


def workload(config: DictConfig, contents: Contents, precision: str = "bf16") -> Workload:
    """Work of the cell ``config`` on such data; FLOPs count one multiply-add as 2.

    ``precision``: ``bf16`` or ``32``, of the activations.
    """
    shape, strategy = Shape.of(config.model), strategy_of(cast(Config, config).strategy)
    query = shape.flops(contents.query, contents.query_square)
    passage = shape.flops(contents.passage, contents.passage_square)
    mini_batch_size = config.train.get("mini_batch_size")
    passes = 1 + (3 if mini_batch_size else 2) * strategy.backward_passes
    ascent = _ascent_passes(config.strategy.perturbation)
    omega = config.strategy.omega
    # Of the mean step, where ω is on average as configured, or ½.
    counts = strategy.expected_counts(int(config.train.batch_size), 0.5 if omega is None else float(omega))
    step_tokens = step_flops = sequences = 0.0
    for block, pairs in counts.items():
        passages = 1 + strategy.negatives_of(block)
        sequences += pairs * (1 + passages)
        step_tokens += pairs * (contents.query + passages * contents.passage)
        step_flops += passes * pairs * (query + passages * passage)
        if block == PERTURBED and ascent:
            step_flops += pairs * (query + ascent * passages * passage)
    measured = contents.test_queries * query + contents.test_passages * passage
    if config.eval.get("untrained"):
        measured *= 2  # once for all runs that start from the same weights; which is first is not known
    most_passages = 1 + strategy.hard_negatives
    most_tokens = sum(counts.values()) * (contents.query + most_passages * contents.passage)
    at_once = min(1.0, (mini_batch_size or sequences) / sequences)
    kept = ACTIVATION_BYTES[precision] + (DROPOUT_BYTES if config.model.dropout else 0)
    texts = (contents.test_queries + contents.test_passages) / (_sets(config) if "data" in config else 1)
    return Workload(
        step_tokens,
        step_flops,
        measured,
        kept * at_once * most_tokens * shape.layers * shape.hidden,
        4 * (shape.projection or shape.hidden) * texts,
    )


def _ascent_passes(perturbation: DictConfig) -> int:
    """Passes that find the perturbation of a passage: forward, and backward for the inputs alone, a step."""
    return 2 * {"noise": 0, "pgd": int(perturbation.steps)}.get(perturbation.kind, 1)
