"""What an attack is. Each attack is one file that registers itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from retrieval.config import AttackConfig, Config
from retrieval.config.attack import ATTACKS
from retrieval.config.registry import Registered

if TYPE_CHECKING:
    from retrieval.data.arrays import FloatArray
    from retrieval.data.testset import EvaluationSet
    from retrieval.evaluation.adversarial.adversarial_set import Target
    from retrieval.evaluation.adversarial.records import Edit, Inserted, Moment
    from retrieval.search.ranking import Ranking
    from retrieval.search.retriever import Attackable


Similarity = Callable[[Sequence[int], Sequence[str], "FloatArray"], "FloatArray"]
"""Cosines float32[n] of new texts with the original texts of some targets: numbers of the targets, the
texts, and their rows float32[n, …] by the model."""


@dataclass(frozen=True)
class Scene:
    """What an attack finds: a model, some queries, and for each of them passages to promote."""

    model: Attackable
    """The attacked model."""
    queries: EvaluationSet
    """The attacked queries."""
    query_rows: FloatArray
    """float32[q, …] of the queries by the model."""
    ranking: Ranking
    """The best candidates of every query, a rank deeper than ``attack.last_rank``."""
    targets: list[Target]
    """By ascending query."""
    texts: list[str]
    """Their texts."""
    similarity: Similarity | None
    """``None``: there is no limit."""
    progress: bool
    """Whether to show a bar when it takes more than two seconds."""
    traces: list[tuple[Moment, ...]] = field(default_factory=list)
    """Filled by an attack with a budget: the way of each target, from its start to its end."""
    controls: list[tuple[Edit, ...]] = field(default_factory=list)
    """Filled by an attack that has a control: for each target as many edits as it made, chosen at random."""


@dataclass(frozen=True)
class Corpus:
    """What an attack finds that puts passages of its own into the corpus."""

    model: Attackable
    """The attacked model."""
    evaluation_set: EvaluationSet
    """The test set: its pool is known to the attacker, its queries are not."""
    progress: bool
    """Whether to show a bar when it takes more than two seconds."""


class AnyAttack(Registered, ABC, registry=ATTACKS):
    """What all attacks have; one of them is an :class:`Attack` or a :class:`CorpusAttack`.

    A subclass with a ``name`` registers itself. Its module imports nothing heavy before it attacks, because
    ``--help`` and the plan of a sweep import it.
    """

    name: ClassVar[str]
    """Value of ``attack.name``."""
    options: ClassVar[type[AttackConfig]] = AttackConfig
    """Its keys; those beyond the common ones are its own."""
    promotes: ClassVar[bool]
    """Whether passages of the corpus are promoted, which ``attack.first_rank`` and others choose."""

    @classmethod
    def check(cls, cell: Config) -> None:
        """Refuse a configuration that the attack cannot work with.

        Raises:
            ConfigError: Names the key, the bad value, the valid ones and, where it helps, the fix.
        """
        return

    @classmethod
    def passes(cls, config: Any) -> list[tuple[float, int | None]]:
        """Forward passes that it takes as a rule, each number with the tokens of a text, for ``sweeps plan``.

        ``None``: texts as long as passages are. ``config``: an object of ``options``.
        """
        return []

    def __init__(self, config: Any) -> None:
        """Read the files that the attack needs, so that mistakes in them show before training.

        ``config``: an object of ``options``, which may have the keys of other attacks, too.

        Raises:
            ConfigError, DataError: A file cannot be read or is malformed.
        """
        self.config = config

    def check_set(self, evaluation_set: EvaluationSet) -> None:
        """Refuse a test set that the attack cannot be made on, before anything is encoded.

        Raises:
            ConfigError: Says what the collection lacks.
        """
        return


class Attack(AnyAttack):
    """Rewrites passages that are irrelevant to a query so that they rank higher for it."""

    promotes = True

    @property
    def budget(self) -> int | None:
        """Units that it may change in a passage; ``None``: it does not record the way of its targets.

        A unit is what its ``Moment.words`` count: a word, a character, a sentence.
        """
        return None

    @abstractmethod
    def edits(self, scene: Scene) -> tuple[list[tuple[Edit, ...]], int]:
        """How the text of each target is changed, and how many texts the model was asked for.

        Raises:
            ConfigError: The model cannot be attacked as configured.
        """


@dataclass(frozen=True)
class Spent:
    """What an attack asked the attacked model for."""

    asked: int
    """Texts, a gradient being a text."""
    passes: float
    """The same in forward passes."""


class CorpusAttack(AnyAttack):
    """Puts passages of its own into the corpus, so that they rank high for queries it has never seen."""

    promotes = False

    @abstractmethod
    def passages(self, corpus: Corpus) -> tuple[list[Inserted], Spent]:
        """The passages in the order in which a smaller budget would take them, and what they took.

        Raises:
            ConfigError: The model cannot be attacked as configured, or there are no queries but the test's.
        """
