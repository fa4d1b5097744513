"""The attack ``wsra`` from its scene to the words that it replaces: order of the words, synonyms, search."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from retrieval.data.arrays import FloatArray
from retrieval.evaluation.adversarial.attack import Scene
from retrieval.evaluation.adversarial.records import Edit
from retrieval.evaluation.substitution.greedy import Greedy, Search
from retrieval.evaluation.substitution.options import WsraConfig
from retrieval.evaluation.substitution.synonyms import EmbeddingSynonyms, Synonyms
from retrieval.evaluation.substitution.words import Words
from retrieval.search.loading import load_retriever
from retrieval.search.retriever import Attackable, TokenGradients


def search(scene: Scene, config: WsraConfig, listed: Synonyms | None) -> tuple[list[tuple[Edit, ...]], int]:
    """The replaced words of each target, and how many texts the model was asked for.

    ``listed``: synonyms of a file; ``None`` takes neighbours among word embeddings.
    """
    words = [Words(text) for text in scene.texts]
    surrogate = load_retriever(config.surrogate) if config.surrogate else None
    guide: Attackable = surrogate or scene.model
    rows = surrogate.encode_texts(scene.queries.queries(), "queries") if surrogate else scene.query_rows
    orders = _orders(config, guide, rows, scene, words)
    synonyms = listed or EmbeddingSynonyms(*guide.word_embeddings(), config.candidates, config.min_cosine)
    greedy = Greedy(scene.model, synonyms, scene.similarity, config)
    searches = []
    for number, (own, order) in enumerate(zip(words, orders, strict=True)):
        usable = [index for index in order if synonyms.of(own[index])]
        searches.append(_start(number, scene, own, usable))
    greedy.run(searches, progress=scene.progress)
    # A gradient is a pass of the model, too.
    gradients = len(words) if config.importance == "gradient" and surrogate is None else 0
    return [_edits(search) for search in searches], greedy.queries + gradients


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


def _start(number: int, scene: Scene, words: Words, order: list[int]) -> Search:
    """The search of a target at its place in the ranking."""
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
    )
    start.rank = int(start.ranks(own)[0])
    return start


def _edits(search: Search) -> tuple[Edit, ...]:
    return tuple(
        Edit(search.words.spans[index][0], search.words[index], search.replaced[index])
        for index in sorted(search.replaced)
    )


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
