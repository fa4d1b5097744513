"""The attack ``wsra``: order of the words, synonyms, and the search, word by word.

Each step's candidates of all passages are encoded together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from retrieval.data.arrays import FloatArray
from retrieval.evaluation.adversarial.attack import Scene, Similarity
from retrieval.evaluation.adversarial.records import Edit, Moment
from retrieval.evaluation.substitution.options import WsraConfig
from retrieval.evaluation.substitution.words import Synonyms, Words, embedding_synonyms, match_case
from retrieval.search.loading import load_retriever
from retrieval.search.retriever import Attackable, TokenGradients

_TEXTS_AT_ONCE = 16_384
"""Candidates encoded together at most: bounds memory, changes nothing else up to rounding."""


def search(scene: Scene, config: WsraConfig, listed: Synonyms | None) -> tuple[list[tuple[Edit, ...]], int]:
    """The replaced words of each target, and how many texts the model was asked for.

    ``listed``: synonyms of a file; ``None`` takes neighbours among word embeddings.
    """
    words = [Words(text) for text in scene.texts]
    surrogate = load_retriever(config.surrogate) if config.surrogate else None
    guide: Attackable = surrogate or scene.model
    rows = surrogate.encode_texts(scene.queries.queries(), "queries") if surrogate else scene.query_rows
    orders = _orders(config, guide, rows, scene, words)
    synonyms = listed or embedding_synonyms(*guide.word_embeddings(), config.candidates, config.min_cosine)
    greedy = Greedy(scene.model, synonyms, scene.similarity, config)
    searches = []
    # A gradient is a pass of the model, too.
    gradients = int(config.importance == "gradient" and surrogate is None)
    for number, (own, order) in enumerate(zip(words, orders, strict=True)):
        usable = [index for index in order if synonyms(own[index])]
        searches.append(_start(number, scene, own, usable, gradients))
    greedy.run(searches, progress=scene.progress)
    scene.traces.extend((*own.trace, own.moment()) for own in searches)
    edits = [
        tuple(Edit(own.words.spans[at][0], own.words[at], own.replaced[at]) for at in sorted(own.replaced))
        for own in searches
    ]
    return edits, sum(own.queries for own in searches)


def _orders(
    config: WsraConfig, guide: Attackable, guide_rows: FloatArray, scene: Scene, words: Sequence[Words]
) -> list[list[int]]:
    """Indexes of the words of each target, in the order in which they are tried."""
    targets, queries = scene.targets, scene.queries
    if config.importance == "random":
        rows = [(int(queries.query_rows[t.query]), int(queries.passage_rows[t.column])) for t in targets]
        return [at_random(own, (config.seed, *row)) for own, row in zip(words, rows, strict=True)]
    own_queries = guide_rows[[target.query for target in targets]]
    gradients = guide.gradients([own.text for own in words], own_queries)
    return [by_gradient(own, gradient) for own, gradient in zip(words, gradients, strict=True)]


def _start(number: int, scene: Scene, words: Words, order: list[int], queries: int) -> Search:
    target = scene.targets[number]
    columns, scores = scene.ranking.columns[target.query], scene.ranking.scores[target.query]
    own = scores[columns == target.column]
    start = Search(
        number=number,
        query=scene.query_rows[target.query],
        words=words,
        order=order,
        others=np.sort(scores[(columns != target.column) & (columns >= 0)]),
        score=float(own[0]),
        rank=0,
        queries=queries,
    )
    start.rank = int(start.ranks(own)[0])
    start.trace.append(start.moment())
    return start


def by_gradient(words: Words, gradients: TokenGradients) -> list[int]:
    """The indexes of the words that the model sees, the most important first.

    The importance of a word is the norm of the score's gradient at the embedding rows of its tokens, summed
    over all its occurrences in the passage; occurrences follow each other in text order. PRADA (Wu et al.,
    ACM TOIS 2023) takes the gradient of a margin loss against the other candidates; with separate encoders
    their scores do not depend on the passage, so the two gradients differ by a positive factor only.
    """
    tokens = _tokens_of_words(words, gradients)
    occurrences: dict[str, list[int]] = defaultdict(list)
    for index, own in enumerate(tokens):
        if own:
            occurrences[words[index].lower()].append(index)
    norms = {
        word: _norm(gradients, [token for index in own for token in tokens[index]])
        for word, own in occurrences.items()
    }
    # The sort is stable: words of equal importance keep the order of their first occurrence.
    return [index for word in sorted(norms, key=lambda word: -norms[word]) for index in occurrences[word]]


def at_random(words: Words, seed: tuple[int, ...]) -> list[int]:
    """The indexes of all words in a random order."""
    order: list[int] = np.random.default_rng(seed).permutation(len(words)).tolist()
    return order


def _tokens_of_words(words: Words, gradients: TokenGradients) -> list[list[int]]:
    """Positions of the tokens of each word; none for a word that was cut off."""
    starts, ends = gradients.spans[:, 0], gradients.spans[:, 1]
    return [np.flatnonzero((starts < end) & (ends > start)).tolist() for start, end in words.spans]


def _norm(gradients: TokenGradients, tokens: list[int]) -> float:
    """The norm of the gradient at the embedding rows that some tokens share."""
    rows, inverse = np.unique(gradients.ids[tokens], return_inverse=True)
    sums = np.zeros((len(rows), gradients.gradients.shape[1]))
    np.add.at(sums, inverse, gradients.gradients[tokens].astype(np.float64))
    return float(np.linalg.norm(sums))


@dataclass
class Search:
    """One passage on its way up."""

    number: int
    query: FloatArray
    """float32[…], the query's row."""
    words: Words
    order: list[int]
    """Words to try, by index, the most important first."""
    others: FloatArray
    """Ascending scores of the query's best other candidates, beyond the start's rank: float32[k]."""
    score: float
    """Score of the current text, ..."""
    rank: int
    """... and its rank."""
    replaced: dict[int, str] = field(default_factory=dict)
    position: int = 0
    """Words looked at so far, ..."""
    tried: int = 0
    """... and words among them whose replacement the model could see."""
    queries: int = 0
    """Texts that the model was asked for."""
    trace: list[Moment] = field(default_factory=list)
    """The start, and what followed each replacement."""

    def moment(self, start: int | None = None) -> Moment:
        """Where it stands; ``start``: of the word just replaced, in characters of the text."""
        return Moment(len(self.replaced), self.queries, self.score, self.rank, start)

    def ranks(self, scores: FloatArray) -> np.ndarray:
        """Ranks int64[n] that texts of these scores float32[n] would have; ties lose."""
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
        synonyms = [match_case(synonym, search.words[word]) for synonym in self._synonyms(search.words[word])]
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
        for step in steps:
            step.search.queries += len(step.texts)
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
                step.search.trace.append(step.search.moment(step.search.words.spans[step.word][0]))

    def _improves(self, search: Search, scores: FloatArray) -> np.ndarray:
        """Which scores are better than the current text's, by the rule of the attack: bool[n]."""
        if self._config.accept == "rank":
            better: np.ndarray = search.ranks(scores) < search.rank
            return better
        return np.asarray(scores > np.float32(search.score))

    def _similar_enough(
        self, steps: list[_Step], bounds: np.ndarray, accepted: np.ndarray, rows: FloatArray
    ) -> np.ndarray:
        assert self._similarity is not None
        owners = np.repeat([step.search.number for step in steps], np.diff(bounds))
        texts = [text for step in steps for text in step.texts]
        chosen = np.flatnonzero(accepted)
        cosines = self._similarity(owners[chosen].tolist(), [texts[index] for index in chosen], rows[chosen])
        return np.asarray(cosines >= self._config.similarity)
