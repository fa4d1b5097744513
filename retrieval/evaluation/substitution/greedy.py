"""A greedy search that promotes passages by one edit after the other, whatever an edit is.

Each step's candidates of all passages are encoded together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from tqdm import tqdm

from retrieval.data.arrays import FloatArray
from retrieval.evaluation.adversarial.attack import Scene, Similarity
from retrieval.evaluation.adversarial.records import Moment
from retrieval.search.retriever import Attackable

RANK, SCORE = "rank", "score"
"""When an edit stays: when the rank strictly improves, or already when the score does."""

_TEXTS_AT_ONCE = 16_384
"""Candidates encoded together at most: bounds memory, changes nothing else up to rounding."""


@dataclass(frozen=True)
class Start:
    """A passage before its first edit."""

    number: int
    """Of the target in its scene."""
    query: FloatArray
    """float32[…], the query's row."""
    others: FloatArray
    """Ascending scores of the query's best other candidates, beyond the start's rank: float32[k]."""
    score: float
    asked: int
    """Texts that the model was asked for already."""

    @classmethod
    def of(cls, scene: Scene, number: int, asked: int = 0) -> Start:
        """That of a target of a scene."""
        target = scene.targets[number]
        columns, scores = scene.ranking.columns[target.query], scene.ranking.scores[target.query]
        (own,) = scores[columns == target.column].tolist()
        others = np.sort(scores[(columns != target.column) & (columns >= 0)])
        return cls(number, scene.query_rows[target.query], others, own, asked)


Choices: TypeAlias = list[tuple[Any, str]]
"""Edits that may be made next, each with the text after it."""


@dataclass
class Climb(ABC):
    """One passage on its way up."""

    begin: Start
    score: float = field(init=False)
    """Score of the current text, ..."""
    rank: int = field(init=False)
    """... and its rank."""
    queries: int = field(init=False)
    """Texts that the model was asked for."""
    tried: int = field(default=0, init=False)
    """Steps among whose candidates was one that the model could see."""
    trace: list[Moment] = field(default_factory=list, init=False)
    """The start, and what followed each edit."""

    def __post_init__(self) -> None:
        self.score, self.queries = self.begin.score, self.begin.asked
        self.rank = int(self.ranks(np.array([self.score], np.float32))[0])
        self.trace.append(self.moment())

    @property
    @abstractmethod
    def spent(self) -> int:
        """Units of the budget that its edits took."""

    @abstractmethod
    def ended(self) -> bool:
        """Whether no more edit may be made, or none is left."""

    @abstractmethod
    def text(self) -> str:
        """The current text."""

    @abstractmethod
    def choices(self) -> Choices:
        """The candidates of the next step; moves on to the step after it."""

    @abstractmethod
    def take(self, choice: Any) -> int:
        """Make an edit, and return where it starts in the original text, in characters."""

    def moment(self, start: int | None = None) -> Moment:
        """Where it stands; ``start``: of the edit just made, in characters of the original text."""
        return Moment(self.spent, self.queries, self.score, self.rank, start)

    def ranks(self, scores: FloatArray) -> np.ndarray:
        """Ranks int64[n] that texts of these scores float32[n] would have; ties lose."""
        others = self.begin.others
        above: np.ndarray = len(others) - np.searchsorted(others, scores, side="left")
        return 1 + above


@dataclass(frozen=True)
class _Step:
    """The candidates of one step of one passage."""

    climb: Climb
    edits: list[Any]
    texts: list[str]


class Greedy:
    """Promotes passages by editing them step by step.

    A step takes the next candidates of every unfinished passage, encodes them (all passages together) and
    keeps the best one of each if it is accepted. Candidates that the model cannot tell from the current text
    or from each other are tried once or not at all: between them only rounding would decide.
    """

    def __init__(
        self, model: Attackable, similarity: Similarity | None, least: float, accept: str = RANK
    ) -> None:
        """``least``: cosine that an accepted text has by ``similarity``; ``accept``: when an edit stays."""
        self._model, self._similarity = model, similarity
        self._least, self._accept = least, accept

    def run(self, climbs: Sequence[Climb], *, progress: bool) -> None:
        """Advance all passages to their end, in place."""
        active = [climb for climb in climbs if not self._finished(climb)]
        bar = tqdm(
            total=len(active), desc="attack", unit="passage", leave=False, disable=not progress, delay=2
        )
        with bar:
            while active:
                for steps in self._steps(active):
                    self._advance(steps)
                left = [climb for climb in active if not self._finished(climb)]
                bar.update(len(active) - len(left))
                active = left

    def _finished(self, climb: Climb) -> bool:
        return (self._accept == RANK and climb.rank == 1) or climb.ended()

    def _steps(self, active: Sequence[Climb]) -> Iterator[list[_Step]]:
        """The next step of every passage, some thousand texts at a time."""
        steps: list[_Step] = []
        count = 0
        for climb in active:
            step = self._step(climb)
            if steps and count + len(step.texts) > _TEXTS_AT_ONCE:
                yield steps
                steps, count = [], 0
            steps.append(step)
            count += len(step.texts)
        yield steps

    def _step(self, climb: Climb) -> _Step:
        choices = climb.choices()
        current, *keys = self._model.tokens([climb.text(), *(text for _, text in choices)])
        kept, seen = [], {current}
        for choice, key in zip(choices, keys, strict=True):
            if key not in seen:
                seen.add(key)
                kept.append(choice)
        climb.tried += bool(kept)
        return _Step(climb, [edit for edit, _ in kept], [text for _, text in kept])

    def _advance(self, steps: list[_Step]) -> None:
        texts = [text for step in steps for text in step.texts]
        if not texts:
            return
        rows = self._model.encode_texts(texts, "passages")
        for step in steps:
            step.climb.queries += len(step.texts)
        bounds = np.cumsum([0, *(len(step.texts) for step in steps)])
        queries = np.stack([step.climb.begin.query for step in steps])
        scores = self._model.scores.pairs(np.repeat(queries, np.diff(bounds), axis=0), rows)
        accepted = np.concatenate(
            [self._improves(step.climb, scores[a:b]) for step, a, b in zip(steps, bounds, bounds[1:])]
        )
        if self._similarity is not None and accepted.any():
            accepted[accepted] = self._similar_enough(steps, bounds, accepted, rows)
        for step, a, b in zip(steps, bounds.tolist(), bounds[1:].tolist()):
            if accepted[a:b].any():
                best = int(np.argmax(np.where(accepted[a:b], scores[a:b], -np.inf)))
                start = step.climb.take(step.edits[best])
                step.climb.score = float(scores[a + best])
                step.climb.rank = int(step.climb.ranks(scores[a + best : a + best + 1])[0])
                step.climb.trace.append(step.climb.moment(start))

    def _improves(self, climb: Climb, scores: FloatArray) -> np.ndarray:
        """Which scores are better than the current text's, by the rule of the attack: bool[n]."""
        if self._accept == RANK:
            better: np.ndarray = climb.ranks(scores) < climb.rank
            return better
        return np.asarray(scores > np.float32(climb.score))

    def _similar_enough(
        self, steps: list[_Step], bounds: np.ndarray, accepted: np.ndarray, rows: FloatArray
    ) -> np.ndarray:
        assert self._similarity is not None
        owners = np.repeat([step.climb.begin.number for step in steps], np.diff(bounds))
        texts = [text for step in steps for text in step.texts]
        chosen = np.flatnonzero(accepted)
        cosines = self._similarity(owners[chosen].tolist(), [texts[index] for index in chosen], rows[chosen])
        return np.asarray(cosines >= self._least)
