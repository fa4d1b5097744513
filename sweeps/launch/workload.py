"""What a cell will compute, from the contents of its texts and the shape of its model: FLOPs and bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from omegaconf import DictConfig

from retrieval.config import Config
from retrieval.config.attack import ATTACKS, attack_names
from retrieval.config.model import NO_ADAPTER, PAIR_FAMILIES
from retrieval.config.strategy import PERTURBATIONS
from retrieval.training.strategy import PERTURBED, strategy_of
from sweeps.launch.facts import Shape, vocabulary
from sweeps.launch.folders import Counts, count_texts

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


@dataclass(frozen=True)
class Contents:
    """What the texts of a run's data are like; lengths in tokens."""

    query: float
    query_square: float
    """Mean of the squared lengths."""
    passage: float
    passage_square: float
    test_queries: int
    """Of all test sets."""
    test_passages: int
    """Over the pools of all test sets."""
    vocabulary: int
    """Words of the tokenizer."""
    pairs: int | None = None
    """In-domain training pairs at ``data.frac=1``; ``None`` = not known."""
    repeated_passages: int = 0
    """Of ``test_passages``, those that are encoded for another set of their collection already."""


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
    """Typical contents, from the limits that the configuration sets and the files that it names."""
    query, passage = (FILL[side] * int(config.data[f"max_{side}_length"]) for side in ("query", "passage"))
    counts = Counts([], [], 0) if config.eval.name == "none" else _measured_texts(config)
    return Contents(
        query,
        query**2,
        passage,
        passage**2,
        sum(counts.queries),
        sum(counts.passages),
        vocabulary(config),
        repeated_passages=counts.shared,
    )


def _measured_texts(config: DictConfig) -> Counts:
    """Texts of every evaluation set, within the limits that the configuration sets."""
    sets = _sets(config)
    typical = Counts([UNCAPPED["queries"]] * sets, [UNCAPPED["passages"]] * sets, UNCAPPED["passages"])
    counts = count_texts(config) or typical
    most, pool = config.eval.max_queries, config.eval.pool
    return Counts(
        [number if most is None else min(number, int(most)) for number in counts.queries],
        [number if pool is None else min(number, int(pool)) for number in counts.passages],
        counts.shared if pool is None or int(pool) >= counts.shared else 0,
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
    variations, probes = varied(config)
    measured += variations * of_set * (1 + int(config.eval.negatives) + int(config.eval.rerank_depth)) * pair
    measured += probes * of_set * 2 * pair + attacked(config, shape, pair)
    at_once = min(1.0, (mini_batch_size or listed) / listed)
    kept = activation_bytes(config, precision) * at_once * listed * tokens * shape.layers * shape.hidden
    return Workload(listed * tokens, step_flops, measured, kept)


def varied(config: DictConfig) -> tuple[int, int]:
    """How many ways the in-domain test queries are varied in, and probes there are."""
    variations, probes = (len(set(config.eval.get(key) or ())) for key in ("variations", "probes"))
    return variations, probes


def attacked(config: DictConfig, shape: Shape, passage: float) -> float:
    """FLOPs that the attacks on the model are expected to take; those of a replay are not counted.

    ``passage``: FLOPs of a text as long as passages are, or of a pair.
    """
    attack = config.get("attack")
    if attack is None or attack.replay is not None:
        return 0.0
    every = [each for name in attack_names(attack) for each in ATTACKS[name].passes(attack)]
    each = (
        count * (passage if tokens is None else shape.flops(tokens, tokens**2)) for count, tokens in every
    )
    return float(sum(each))


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
    encoded = contents.test_passages - contents.repeated_passages
    measured = contents.test_queries * query + encoded * passage
    # Each query of a set with each of its passages, for the ranking and for contrastive entropy.
    found = shape.scoring(contents.query, contents.test_passages / sets * contents.passage)
    measured += 2 * contents.test_queries * found
    if config.eval.get("untrained"):
        measured *= 2
    variations, probes = varied(config)
    measured += variations * contents.test_queries / sets * (query + 2 * found)
    edited = passage + shape.scoring(contents.query, contents.passage)
    measured += probes * contents.test_queries / sets * 2 * edited + attacked(config, shape, passage)
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
