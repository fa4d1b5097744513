"""Group ``attack``: the attack on the in-domain test set, and where a run keeps what it attacked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.config.knobs import knob
from retrieval.config.registry import Registry

ATTACKS: Registry[type[Any]] = Registry("attack.name", "retrieval.evaluation.attacks")
"""Every attack: a class of :class:`retrieval.evaluation.adversarial.attack.Attack`."""

ATTACK_FILE = "attack.jsonl"
"""Attacked passages in a run directory."""


@dataclass
class AttackConfig:
    """An attack on the in-domain test set; part of a run's identity."""

    name: str = knob("none", "Attack; attack=NAME sets it.", choices=lambda: ("none", *ATTACKS))
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
    similarity: float = knob(
        0.0,
        "Least cosine between the vectors of the original and the attacked passage; -1: no constraint. A "
        "cross-encoder has no such vectors: above 0 it needs attack.similarity_model.",
        minimum=-1,
        below=1,
    )
    similarity_model: str | None = knob(
        None, "Sentence-transformers folder or hub id that judges it; null: the attacked model.", content=True
    )
    seed: int = knob(1, "Seed of the choice of queries and targets.", minimum=0, maximum=2**31 - 1)


def attack_file(source: str | Path) -> Path:
    """The file of attacked passages in a run folder; ``source`` itself where it is no folder."""
    path = Path(source)
    return path / ATTACK_FILE if path.is_dir() else path
