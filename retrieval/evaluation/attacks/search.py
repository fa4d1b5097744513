"""From a configuration to an adversarial set: targets, order of the words, synonyms, greedy search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.config import AttackConfig
from retrieval.data.arrays import FloatArray
from retrieval.data.testset import EvaluationSet
from retrieval.errors import ConfigError
from retrieval.evaluation.attacks.adversarial_set import AdversarialSet, target_texts
from retrieval.evaluation.attacks.greedy import Greedy, Search
from retrieval.evaluation.attacks.importance import at_random, by_gradient
from retrieval.evaluation.attacks.records import Replacement
from retrieval.evaluation.attacks.synonyms import EmbeddingSynonyms, Synonyms
from retrieval.evaluation.attacks.targets import Target, choose_queries, choose_targets, take_queries
from retrieval.evaluation.attacks.words import Words
from retrieval.models.scores import Scores
from retrieval.search.loading import load_retriever
from retrieval.search.ranking import Ranking, top_k, without_identical
from retrieval.search.retriever import Attackable


@dataclass(frozen=True)
class Judge:
    """Who tells how similar two texts are."""

    scores: Scores
    encode: Callable[[Sequence[str]], FloatArray] | None = None
    """Rows of texts; ``None``: the attacked model's own, which are at hand."""

    def rows(self, texts: Sequence[str], own: FloatArray) -> FloatArray:
        """Return float32[n, …] of texts, of which the attacked model has its ``own``."""
        return own if self.encode is None else self.encode(texts)


def search(
    config: AttackConfig,
    listed: Synonyms | None,
    model: Attackable,
    judge: Judge,
    evaluation_set: EvaluationSet,
    encoded: tuple[FloatArray, FloatArray],
    *,
    progress: bool,
) -> tuple[AdversarialSet, int]:
    """Choose targets, attack them, and return the adversarial set and how often the model was asked.

    Args:
        config: The attack.
        listed: Synonyms of a file; ``None`` takes neighbours among word embeddings.
        model: The attacked model.
        judge: Of the similarity constraint.
        evaluation_set: The model's test set.
        encoded: float32[q, …] and float32[p, …] of the set by the model.
        progress: Show a bar when it takes more than two seconds.

    Raises:
        ConfigError: No candidate stands at the attacked ranks.
    """
    positions = choose_queries(evaluation_set, config.queries, config.seed)
    queries, rows, passages = take_queries(evaluation_set, positions), encoded[0][positions], encoded[1]
    ranking, targets = _ranked_targets(config, queries, rows, passages, model.scores)
    old_texts = target_texts(queries, targets)
    words = [Words(text) for text in old_texts]
    surrogate = load_retriever(config.surrogate) if config.surrogate else None
    guide: Attackable = surrogate or model
    guide_rows = surrogate.encode_texts(queries.queries(), "queries") if surrogate else rows
    orders = _orders(config, guide, guide_rows, queries, targets, words)
    similarity = None
    if config.similarity > -1:
        similarity = _Similarity(judge, old_texts, passages[[target.column for target in targets]])
    synonyms = listed or _neighbours(config, guide)
    greedy = Greedy(model, synonyms, similarity, config)
    searches = []
    for number, (target, own, order) in enumerate(zip(targets, words, orders, strict=True)):
        usable = [index for index in order if synonyms.of(own[index])]
        searches.append(_start(number, target, own, usable, ranking, rows[target.query]))
    greedy.run(searches, progress=progress)
    # A gradient is a pass of the model, too.
    gradients = len(targets) if config.importance == "gradient" and surrogate is None else 0
    new_texts, replaced = [one.text() for one in searches], [_replacements(one) for one in searches]
    adversarial = AdversarialSet(positions, queries, targets, old_texts, new_texts, replaced)
    return adversarial, greedy.queries + gradients


def _ranked_targets(
    config: AttackConfig, queries: EvaluationSet, rows: FloatArray, passages: FloatArray, scores: Scores
) -> tuple[Ranking, list[Target]]:
    # One deeper than the last rank: a target is compared with the others, one deeper for the query's own.
    found = top_k(rows, passages, config.last_rank + 2, scores=scores)
    ranking = without_identical(found, queries, config.last_rank + 1)
    targets = choose_targets(ranking, queries, config)
    if not targets:
        raise ConfigError(
            f"{queries.name}: nothing irrelevant at ranks {config.first_rank} to {config.last_rank} "
            f"of {len(passages)} candidates; lower attack.first_rank and attack.last_rank"
        )
    return ranking, targets


def _orders(
    config: AttackConfig,
    guide: Attackable,
    guide_rows: FloatArray,
    queries: EvaluationSet,
    targets: Sequence[Target],
    words: Sequence[Words],
) -> list[list[int]]:
    """Return, for each target, the indexes of its words in the order in which they are tried."""
    if config.importance == "random":
        rows = [(int(queries.query_rows[t.query]), int(queries.passage_rows[t.column])) for t in targets]
        return [at_random(own, (config.seed, *row)) for own, row in zip(words, rows, strict=True)]
    own_queries = guide_rows[[target.query for target in targets]]
    gradients = guide.gradients([own.text for own in words], own_queries)
    return [by_gradient(own, gradient) for own, gradient in zip(words, gradients, strict=True)]


def _neighbours(config: AttackConfig, guide: Attackable) -> Synonyms:
    return EmbeddingSynonyms(*guide.word_embeddings(), config.candidates, config.min_cosine)


class _Similarity:
    """Cosine of texts with the original passages."""

    def __init__(self, judge: Judge, old_texts: Sequence[str], old_rows: FloatArray) -> None:
        self._scores = judge.scores
        self._rows = judge.rows
        self._old = judge.rows(old_texts, old_rows)

    def __call__(self, numbers: Sequence[int], texts: Sequence[str], rows: FloatArray) -> FloatArray:
        """Return float32[n]: how close the texts are to the originals of some targets, by number."""
        return self._scores.cosines(self._old[list(numbers)], self._rows(texts, rows))


def _start(
    number: int, target: Target, words: Words, order: list[int], ranking: Ranking, query: FloatArray
) -> Search:
    """Return the search of a target at its place in the ranking."""
    columns, scores = ranking.columns[target.query], ranking.scores[target.query]
    own = scores[columns == target.column]
    start = Search(
        number=number,
        query=query,
        words=words,
        order=order,
        others=np.sort(scores[(columns != target.column) & (columns >= 0)]),
        score=float(own[0]),
        rank=0,
    )
    start.rank = int(start.ranks(own)[0])
    return start


def _replacements(search: Search) -> tuple[Replacement, ...]:
    return tuple(
        Replacement(search.words.spans[index][0], search.words[index], search.replaced[index])
        for index in sorted(search.replaced)
    )
