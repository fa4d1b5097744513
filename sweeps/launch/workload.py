"""How much a cell computes: tokens and FLOPs of its training and evaluation, from its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from omegaconf import DictConfig

from retrieval.config import Config
from retrieval.config.strategy import PERTURBATIONS
from retrieval.training.strategy import PERTURBED, strategy_of
from sweeps.launch.shape import shaped, vocabulary

FILL = {"query": 0.4, "passage": 0.75}
"""Typical length of a text as a share of its maximum, where its data are not at hand."""

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
class _Texts:
    """Texts put through the encoder, as :class:`retrieval.models.flops.Work` counts them."""

    tokens: float = 0.0
    attended: float = 0.0
    sequences: float = 0.0

    @classmethod
    def of(cls, contents: Contents, queries: float, passages: float) -> _Texts:
        """So many queries and passages of mean length."""
        return cls(
            queries * contents.query + passages * contents.passage,
            queries * contents.query_square + passages * contents.passage_square,
            queries + passages,
        )

    def __add__(self, more: _Texts) -> _Texts:
        return _Texts(
            self.tokens + more.tokens, self.attended + more.attended, self.sequences + more.sequences
        )


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
    model = shaped(config.model)
    hidden, layers = int(model.hidden), int(model.layers)
    wide = int(model.intermediate or 4 * hidden)
    weights = layers * (4 * hidden * hidden + 2 * hidden * wide)

    def forward(texts: _Texts) -> float:
        projection = hidden * int(model.projection)
        attention = 4 * hidden * layers * texts.attended
        return 2 * weights * texts.tokens + attention + 2 * projection * texts.sequences

    whole, searched, most = _step_texts(config, contents)
    mini_batch_size = config.train.get("mini_batch_size")
    backward = strategy_of(cast(Config, config).strategy).backward_passes
    passes = 1 + 2 * backward + (backward if mini_batch_size else 0)
    measured = forward(_Texts.of(contents, contents.test_queries, contents.test_passages))
    if config.eval.get("untrained"):
        measured *= 2  # once for all runs that start from the same weights; which is first is not known
    at_once = min(1.0, (mini_batch_size or whole.sequences) / whole.sequences)
    kept = ACTIVATION_BYTES[precision] + (DROPOUT_BYTES if config.model.dropout else 0)
    sets = _sets(config) if "data" in config else 1
    vectors = 4 * (int(model.projection) or hidden) * (contents.test_queries + contents.test_passages) / sets
    return Workload(
        whole.tokens,
        passes * forward(whole) + forward(searched),
        measured,
        kept * at_once * most.tokens * layers * hidden,
        vectors,
    )


def batch_contents(config: DictConfig) -> dict[str, float]:
    """Pairs of each block in the mean step of a training, where ω is on average as configured, or ½."""
    strategy = strategy_of(cast(Config, config).strategy)
    omega = config.strategy.omega
    return strategy.expected_counts(int(config.train.batch_size), 0.5 if omega is None else float(omega))


def _step_texts(config: DictConfig, contents: Contents) -> tuple[_Texts, _Texts, _Texts]:
    """All texts of the mean step; those passed to find perturbations; and those of the largest step."""
    strategy, options = strategy_of(cast(Config, config).strategy), config.strategy.perturbation
    gradients = PERTURBATIONS[options.kind].gradients(options)
    whole, searched = _Texts(), _Texts()
    counts = batch_contents(config)
    for block, pairs in counts.items():
        passages = 1 + strategy.negatives_of(block)
        whole += _Texts.of(contents, pairs, pairs * passages)
        if block == PERTURBED and gradients:
            searched += _Texts.of(contents, pairs, ASCENT_PASSES * gradients * pairs * passages)
    pairs = sum(counts.values())
    return whole, searched, _Texts.of(contents, pairs, pairs * (1 + strategy.hard_negatives))
