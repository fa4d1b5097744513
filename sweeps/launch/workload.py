"""How much a cell computes: tokens and FLOPs of its training and evaluation, from its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from sweeps.launch.shape import shaped, vocabulary

FILL = {"query": 0.4, "passage": 0.75}
"""Typical length of a text as a share of its maximum, where its data are not at hand."""

PERTURBED, OTHER_DOMAINS = "perturbed", "other-domains"

UNCAPPED = {"queries": 10_000, "passages": 100_000}
"""Texts of a test set assumed for ``eval=full`` where its data are not at hand."""

ASCENT_PASSES = 2
"""One step of a gradient-guided perturbation: forward, and backward for the inputs alone."""

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
    model, strategy = shaped(config.model), config.strategy
    hidden, layers = int(model.hidden), int(model.layers)
    wide = int(model.intermediate or 4 * hidden)
    weights = layers * (4 * hidden * hidden + 2 * hidden * wide)
    # Other domains bring no mined negatives; on average over the steps, or within each of them.
    negatives = 1 + hard_negatives(strategy) * (1 - shares(strategy)[OTHER_DOMAINS])
    pairs = int(config.train.batch_size) * (blocks(strategy) if strategy.get("budget") == "extra" else 1)
    tokens = pairs * (contents.query + negatives * contents.passage)
    most = pairs * (contents.query + (1 + hard_negatives(strategy)) * contents.passage)
    attended = pairs * (contents.query_square + negatives * contents.passage_square)

    def forward(tokens: float, attended: float, sequences: float) -> float:
        projection = hidden * int(model.projection)
        return 2 * weights * tokens + 4 * hidden * layers * attended + 2 * projection * sequences

    sequences = pairs * (1 + negatives)
    backward = 2 if strategy.rule in ("upgrad", "mgda", "pcgrad") and strategy.name == "pareto" else 1
    recomputed = backward if config.train.get("mini_batch_size") else 0
    passes = 1 + 2 * backward + recomputed + _ascent(strategy)
    step = passes * forward(tokens, attended, sequences)
    measured = forward(
        contents.test_queries * contents.query + contents.test_passages * contents.passage,
        contents.test_queries * contents.query_square + contents.test_passages * contents.passage_square,
        contents.test_queries + contents.test_passages,
    )
    if config.eval.get("untrained"):
        measured *= 2  # once for all runs that start from the same weights; which is first is not known
    at_once = min(1.0, (config.train.get("mini_batch_size") or sequences) / sequences)
    kept = ACTIVATION_BYTES[precision] + (DROPOUT_BYTES if config.model.dropout else 0)
    sets = _sets(config) if "data" in config else 1
    vectors = 4 * (int(model.projection) or hidden) * (contents.test_queries + contents.test_passages) / sets
    return Workload(tokens, step, measured, kept * at_once * most * layers * hidden, vectors)


def hard_negatives(strategy: Any) -> int:
    """Mined passages that every query of a batch brings."""
    return int(strategy.hard.count) if _base(strategy) in ("hard-negative", "denoising") else 0


def blocks(strategy: Any) -> int:
    """Losses of a step that have pairs of their own with ``strategy.budget=extra``."""
    if strategy.name != "pareto":
        return 2 if strategy.name == "adversarial" else 1
    perturbed = strategy.base == "adversarial" or strategy.robust in ("adversarial", "both")
    return 1 + perturbed + (strategy.robust in ("ood", "both"))


def shares(strategy: Any) -> dict[str, float]:
    """Share of the pairs that are perturbed, and that come from other domains, where ω is as it starts.

    With ``mixing=loss`` a batch is split as if ω were ½, and with ``budget=extra`` evenly.
    """
    if strategy.get("budget") == "extra":
        even = 1 / blocks(strategy)
        other = strategy.name == "pareto" and strategy.robust != "adversarial"
        perturbed = blocks(strategy) > 1 + other
        return {PERTURBED: even * perturbed, OTHER_DOMAINS: even * other}
    pareto = strategy.name == "pareto"
    by_steps = strategy.get("mixing", "steps") == "steps"
    omega = strategy.omega if pareto and by_steps and strategy.omega is not None else 0.5
    base = 0.5 if _base(strategy) == "adversarial" else 0.0
    if not pareto:
        return {PERTURBED: base, OTHER_DOMAINS: 0.0}
    other = {"ood": 1.0, "both": 0.5, "adversarial": 0.0}[str(strategy.robust)]
    perturbed = (1 - omega) * base + omega * (1 - other)
    return {PERTURBED: perturbed, OTHER_DOMAINS: omega * other}


def _base(strategy: Any) -> str:
    return str(strategy.base if strategy.name == "pareto" else strategy.name)


def _ascent(strategy: Any) -> float:
    """Forward passes of a whole batch that go into perturbing the share of the pairs that is perturbed."""
    if strategy.perturbation.kind == "noise":
        return 0.0
    steps = int(strategy.perturbation.steps) if strategy.perturbation.kind == "pgd" else 1
    return ASCENT_PASSES * steps * shares(strategy)[PERTURBED]
