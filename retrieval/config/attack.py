"""Group ``attack``: attacks on the in-domain test set, and where a run keeps what they made.

``attack=[wsra,poison]`` composes the options of both attacks into one group. Keys of an attack have names
that no other attack has, or stand below the attack's own name; ``attack.surrogate`` is one that several read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from retrieval.config.knobs import knob
from retrieval.config.registry import Registry

ATTACKS: Registry[type[Any]] = Registry("attack.name", "retrieval.evaluation.attacks")
"""Every attack: a class of :class:`retrieval.evaluation.adversarial.attack.Attack`."""

ATTACK_FILE = "attack.jsonl"
"""Attacked passages in a run directory."""


NO_ATTACK = "none"

FIRST = "wsra"
"""The attack whose keys are ``adv/…``; those of every other are ``adv/NAME/…``."""

ADVERSARIAL = "adv"


class _Composed(type):
    """Type of the schemas of attacks, any of which can be merged into any other.

    OmegaConf merges a schema into another one only where it is a subclass of it.
    """

    def __subclasscheck__(cls, subclass: type) -> bool:
        return super().__subclasscheck__(subclass) or isinstance(subclass, _Composed)


@dataclass
class AttackConfig(metaclass=_Composed):
    """An attack on the in-domain test set; part of a run's identity."""

    name: Any = knob(
        NO_ATTACK,
        "Attack; attack=NAME sets it, and attack=[NAME,NAME] makes it a list.",
        choices=lambda: (NO_ATTACK, *ATTACKS),
    )
    chosen: dict[str, bool] = knob({}, "The attacks that attack=… names; it sets them.")
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


def attack_names(attack: AttackConfig | DictConfig | Mapping[str, Any]) -> tuple[str, ...]:
    """The attacks that a configuration names, by the alphabet; none with ``attack=none``."""
    values = attack if isinstance(attack, Mapping | DictConfig) else vars(attack)
    name, chosen = values["name"], values.get("chosen") or {}
    if len(chosen) > 1:
        return tuple(sorted(map(str, chosen)))
    if isinstance(name, list | tuple | ListConfig):
        return tuple(sorted({str(each) for each in name} - {NO_ATTACK}))
    return () if name == NO_ATTACK else (str(name),)


def prefix_of(name: str) -> str:
    """The first part of the keys of an attack's metrics: ``adv``, or ``adv/NAME`` of any but ``wsra``."""
    return ADVERSARIAL if name == FIRST else f"{ADVERSARIAL}/{name}"


def attack_file(source: str | Path) -> Path:
    """The file of attacked passages in a run folder; ``source`` itself where it is no folder."""
    path = Path(source)
    return path / ATTACK_FILE if path.is_dir() else path
