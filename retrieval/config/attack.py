"""Group ``attack``: the attack on the in-domain test set, and where a run keeps what it attacked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrieval.config.knobs import knob

ATTACK_FILE = "attack.jsonl"
"""Attacked passages in a run directory."""


@dataclass
class AttackConfig:
    """Word-substitution ranking attack on the in-domain test set; part of a run's identity."""

    name: str = knob("none", "Attack; attack=NAME sets it.", choices=("none", "wsra"))
    replay: str | None = knob(
        None, "Run folder or attack.jsonl whose attacked passages are measured; nothing is searched then."
    )
    queries: int = knob(50, "Test queries that are attacked.", minimum=1)
    targets: int = knob(
        5,
        "Passages promoted for each query: one from each of so many equal blocks of the ranks below.",
        minimum=1,
    )
    first_rank: int = knob(51, "First rank of the promoted passages; rank 1 cannot be improved.", minimum=2)
    last_rank: int = knob(100, "Last rank of the promoted passages.")
    words: int = knob(10, "m: words replaced in a passage at most.", minimum=1)
    tries: int | None = knob(
        20,
        "Words tried in a passage, most important first; null: all, until m are replaced.",
        minimum=1,
    )
    synonyms: str = knob(
        "embedding", "embedding (neighbours among the model's word embeddings), or a JSON file of synonyms."
    )
    candidates: int = knob(8, "Synonyms tried for a word.", minimum=1)
    min_cosine: float = knob(
        0.0,
        "Least cosine of a neighbour with synonyms=embedding; near 0.2 are those of short trainings.",
        minimum=-1,
        maximum=1,
    )
    importance: str = knob(
        "gradient",
        "Order of the words: by the gradient's norm at their embedding rows, or at random.",
        choices=("gradient", "random"),
    )
    surrogate: str | None = knob(
        None,
        "Run folder, or sentence-transformers folder or hub id, that lends gradients and embeddings in place "
        "of the attacked model, which is then asked for scores only.",
    )
    accept: str = knob(
        "rank",
        "A replacement stays when the rank strictly improves, or already when the score does.",
        choices=("rank", "score"),
    )
    similarity: float = knob(
        0.0,
        "Least cosine between the vectors of the original and the attacked passage; -1: no constraint.",
        minimum=-1,
        below=1,
    )
    similarity_model: str | None = knob(
        None, "Sentence-transformers folder or hub id that judges it; null: the attacked model."
    )
    seed: int = knob(1, "Seed of the choice of queries and targets.", minimum=0, maximum=2**31 - 1)


def attack_file(source: str | Path) -> Path:
    """Return the file of attacked passages in a run folder; ``source`` itself where it is no folder."""
    path = Path(source)
    return path / ATTACK_FILE if path.is_dir() else path
