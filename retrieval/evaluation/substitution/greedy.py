"""The search: word by word, each step's candidates of all passages encoded together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from retrieval.data.arrays import FloatArray
from retrieval.evaluation.adversarial.attack import Similarity
from retrieval.evaluation.substitution.options import WsraConfig
from retrieval.evaluation.substitution.synonyms import Synonyms
from retrieval.evaluation.substitution.words import Words, match_case
from retrieval.search.retriever import Attackable

_TEXTS_AT_ONCE = 16_384
"""Candidates encoded together at most: bounds memory, changes nothing else up to rounding."""


@dataclass
class Search:
    """One passage on its way up."""

    number: int
    query: FloatArray
    """float32 ``[…]``, the query's row."""
    words: Words
    order: list[int]
    """Words to try, by index, the most important first."""
    others: FloatArray
    """Ascending scores of the query's best other candidates, beyond the start's rank: float32 ``[k]``."""
    score: float
    """Score of the current text, ..."""
    rank: int
    """... and its rank."""
    replaced: dict[int, str] = field(default_factory=dict)
    position: int = 0
    """Words looked at so far, ..."""
    tried: int = 0
    """... and words among them whose replacement the model could see."""

    def ranks(self, scores: FloatArray) -> np.ndarray:
        """Ranks int64 ``[n]`` that texts of these scores float32 ``[n]`` would have; ties lose."""
        above: np.ndarray = len(self.others) - np.searchsorted(self.others, scores, side="left")
        return 1 + above

    def finished(self, config: WsraConfig) -> bool:
        """Whether no more word may or need be replaced."""
        at_top = config.accept == "rank" and self.rank == 1
        enough = config.tries is not None and self.tried >= config.tries
        return at_top or enough or len(self.replaced) >= config.words or self.position >= len(self.order)


@dataclass(frozen=True)
class _Step:
    """The candidates of one word of one passage."""

    search: Search
    word: int
    synonyms: list[str]
    texts: list[str]


class Greedy:
    """Promotes passages by replacing their words one after the other.

    A step takes the next word of every unfinished passage, encodes the passage with each synonym in its
    place (all passages together) and keeps the best one if it is accepted. Candidates that the model cannot
    tell from the current text or from each other are tried once or not at all: between them only rounding
    would decide.
    """

    def __init__(
        self, model: Attackable, synonyms: Synonyms, similarity: Similarity | None, config: WsraConfig
    ) -> None:
        self._model = model
        self._synonyms = synonyms
        self._similarity = similarity
        self._config = config
        self.queries = 0
        """Texts that the model was asked for."""

    def run(self, searches: Sequence[Search], *, progress: bool) -> None:
        """Advance all searches to their end, in place."""
        active = [search for search in searches if not search.finished(self._config)]
        bar = tqdm(
            total=len(active), desc="attack", unit="passage", leave=False, disable=not progress, delay=2
        )
        with bar:
            while active:
                for steps in self._steps(active):
                    self._advance(steps)
                left = [search for search in active if not search.finished(self._config)]
                bar.update(len(active) - len(left))
                active = left

    def _steps(self, active: Sequence[Search]) -> Iterator[list[_Step]]:
        """The next step of every search, some thousand texts at a time."""
        steps: list[_Step] = []
        count = 0
        for search in active:
            step = self._step(search)
            if steps and count + len(step.texts) > _TEXTS_AT_ONCE:
                yield steps
                steps, count = [], 0
            steps.append(step)
            count += len(step.texts)
        yield steps

    def _step(self, search: Search) -> _Step:
        word = search.order[search.position]
        search.position += 1
        synonyms = [
            match_case(synonym, search.words[word]) for synonym in self._synonyms.of(search.words[word])
        ]
        texts = [search.words.replace({**search.replaced, word: synonym}) for synonym in synonyms]
        current, *keys = self._model.tokens([search.words.replace(search.replaced), *texts])
        kept, seen = [], {current}
        for index, key in enumerate(keys):
            if key not in seen:
                seen.add(key)
                kept.append(index)
        search.tried += bool(kept)
        return _Step(search, word, [synonyms[index] for index in kept], [texts[index] for index in kept])

    def _advance(self, steps: list[_Step]) -> None:
        texts = [text for step in steps for text in step.texts]
        if not texts:
            return
        rows = self._model.encode_texts(texts, "passages")
        self.queries += len(texts)
        bounds = np.cumsum([0, *(len(step.texts) for step in steps)])
        queries = np.stack([step.search.query for step in steps])
        scores = self._model.scores.pairs(np.repeat(queries, np.diff(bounds), axis=0), rows)
        accepted = np.concatenate(
            [self._improves(step.search, scores[a:b]) for step, a, b in zip(steps, bounds, bounds[1:])]
        )
        if self._similarity is not None and accepted.any():
            accepted[accepted] = self._similar_enough(steps, bounds, accepted, rows)
        for step, a, b in zip(steps, bounds.tolist(), bounds[1:].tolist()):
            if accepted[a:b].any():
                best = int(np.argmax(np.where(accepted[a:b], scores[a:b], -np.inf)))
                step.search.replaced[step.word] = step.synonyms[best]
                step.search.score = float(scores[a + best])
                step.search.rank = int(step.search.ranks(scores[a + best : a + best + 1])[0])

    def _improves(self, search: Search, scores: FloatArray) -> np.ndarray:
        """Which scores are better than the current text's, by the rule of the attack: bool ``[n]``."""
        if self._config.accept == "rank":
            better: np.ndarray = search.ranks(scores) < search.rank
            return better
        return np.asarray(scores > np.float32(search.score))

    def _similar_enough(
        self, steps: list[_Step], bounds: np.ndarray, accepted: np.ndarray, rows: FloatArray
    ) -> np.ndarray:
        """Whether each accepted candidate meets the similarity constraint."""
        assert self._similarity is not None
        owners = np.repeat([step.search.number for step in steps], np.diff(bounds))
        texts = [text for step in steps for text in step.texts]
        chosen = np.flatnonzero(accepted)
        cosines = self._similarity(owners[chosen].tolist(), [texts[index] for index in chosen], rows[chosen])
        return np.asarray(cosines >= self._config.similarity)
