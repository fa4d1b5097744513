"""Group ``eval``: measurement."""

from dataclasses import dataclass
from typing import Any

from retrieval.config.knobs import knob
from retrieval.config.model import PAIR_FAMILIES
from retrieval.config.registry import Registry

VARIATIONS: Registry[type[Any]] = Registry("eval.variations", "retrieval.evaluation.variations")
"""Every variation of queries: a class of :class:`retrieval.evaluation.variation.Variation`."""

PROBES: Registry[type[Any]] = Registry("eval.probes", "retrieval.evaluation.probes")
"""Every bias probe: a class of :class:`retrieval.evaluation.probe.Probe`."""


@dataclass
class EvalConfig:
    """Measurement; part of a run's identity."""

    name: str = knob("quick", "Level; eval=NAME sets it.", choices=("quick", "full", "none"))
    max_queries: int | None = knob(1000, "Test queries of a collection; null: all.", minimum=1)
    pool: int | None = knob(
        2000,
        "Candidate passages of a collection, all relevant ones among them; null: the whole corpus.",
        minimum=2,
    )
    shard: int = knob(
        65536,
        "Candidates encoded and ranked at a time: bounds the memory, and changes results by rounding alone.",
        minimum=1,
    )
    negatives: int = knob(256, "W: irrelevant passages of the contrastive entropy.", minimum=1)
    draws: int = knob(10, "Draws of negatives that the contrastive entropy averages.", minimum=1)
    pair_queries: int = knob(
        100,
        "Test queries of a collection, at most, for a model that scores pairs by a pass each: the first of "
        "eval.max_queries, with one draw.",
        minimum=1,
        families=PAIR_FAMILIES,
    )
    first_stage: str = knob(
        "bm25",
        "What finds the candidates that such a model ranks: bm25, a run folder, or a folder or hub id of a "
        "sentence-transformers model.",
        content=True,
        families=PAIR_FAMILIES,
    )
    rerank_depth: int = knob(
        100, "Candidates of a query that such a model ranks.", minimum=1, families=PAIR_FAMILIES
    )
    seed: int = knob(1, "Seed of pool and draws: runs with the same one compare in pairs.")
    bm25: bool = knob(True, "Whether the reference row bm25/… (the lexical baseline) is measured.")
    untrained: bool = knob(
        False, "Whether the reference row untrained/… (the initial weights of the run) is measured."
    )
    variations: list[str] = knob(
        [],
        "Ways in which the in-domain test queries are varied, each measured beside them.",
        choices=VARIATIONS.names,
    )
    variation_rate: float = knob(
        0.2, "Share of a query's words that typo and synonyms change, one at least.", above=0, maximum=1
    )
    synonyms: str | None = knob(
        None, "JSON file of synonyms that the variation synonyms reads, as attack.synonyms.", content=True
    )
    probes: list[str] = knob(
        [],
        "Biases that the model is probed for, by edited relevant passages of the in-domain test set.",
        choices=PROBES.names,
    )
