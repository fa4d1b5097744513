"""Passages that score high with many queries, made word by word by HotFlip.

HotFlip (Ebrahimi et al. 2018, arXiv 1712.06751) estimates by the gradient at a word's embedding what every
other word in its place would do to the score; the best estimates are tried. Zhong et al. (2023, arXiv
2310.19156) make passages for retrieval with it: their objective is the mean score with the queries of a
cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from retrieval.data.arrays import FloatArray
from retrieval.errors import ConfigError
from retrieval.models.scores import InnerProducts
from retrieval.search.retriever import Attackable, TokenGradients

_TEXTS_AT_ONCE = 16_384
"""Candidates encoded together at most: bounds memory, changes nothing else up to rounding."""


@dataclass
class Passage:
    """A passage in the making."""

    aim: FloatArray
    """Rows of the queries that it is made for, float32[n, …]."""
    words: list[str]
    generator: np.random.Generator
    asked: int = 0
    """Texts that the model was asked for; a gradient is a text."""
    gradients: int = 0
    """Gradients among them."""
    places: list[int] = field(default_factory=list)
    """Places of words that are next to be changed."""

    @property
    def text(self) -> str:
        """Its words with spaces between."""
        return " ".join(self.words)

    def next_place(self) -> int:
        """Each place once in a random order, then each in another order, and so on."""
        if not self.places:
            self.places = self.generator.permutation(len(self.words)).tolist()
        return self.places.pop()

    def with_word(self, place: int, word: str) -> str:
        """The text with another word at a place."""
        return " ".join([*self.words[:place], word, *self.words[place + 1 :]])


class HotFlip:
    """Changes words of passages so that their mean score with the queries that they aim at rises."""

    def __init__(self, model: Attackable, candidates: int, batch: int) -> None:
        """``candidates``: words tried at a place; ``batch``: queries that a step of a model looks at whose
        scores are no inner products of single vectors.

        Raises:
            ConfigError: The model has no words that are single tokens, or scores pairs.
        """
        if model.scores.by_pair:
            raise ConfigError(
                "attack=poison: a model that scores pairs has no vectors of queries that a passage could "
                "be made for; attack another family, or set attack.surrogate or attack.replay"
            )
        self._model, self._candidates, self._batch = model, candidates, batch
        self.words, self._embeddings = model.word_embeddings()
        if not self.words:
            raise ConfigError(
                "attack=poison: the model has no words that are single tokens; set attack.surrogate"
            )
        # The mean of inner products is the inner product with the mean.
        self._linear = isinstance(model.scores, InnerProducts)

    def start(self, aims: Sequence[FloatArray], length: int, seed: int) -> list[Passage]:
        """A passage of ``length`` random words for each of some lists of query rows."""
        passages = []
        for number, rows in enumerate(aims):
            generator = np.random.default_rng((seed, number))
            chosen = generator.integers(len(self.words), size=length)
            aim = rows.mean(axis=0, keepdims=True) if self._linear else rows
            passages.append(Passage(aim, [self.words[at] for at in chosen], generator))
        return passages

    def run(self, passages: Sequence[Passage], iterations: int, *, progress: bool) -> None:
        """Look at a word of every passage ``iterations`` times, all passages side by side, in place."""
        steps = range(iterations)
        for _ in tqdm(steps, desc="poison", unit="step", leave=False, disable=not progress, delay=2):
            self._step(passages)

    def _step(self, passages: Sequence[Passage]) -> None:
        queries = [self._queries(passage) for passage in passages]
        places = [passage.next_place() for passage in passages]
        repeated = [passage.text for passage, rows in zip(passages, queries, strict=True) for _ in rows]
        slopes = list(self._model.gradients(repeated, np.concatenate(queries)))
        texts: list[list[str]] = []
        flips: list[list[str]] = []
        for passage, rows, place in zip(passages, queries, places, strict=True):
            flips.append(self._flips(passage, place, slopes[: len(rows)]))
            slopes = slopes[len(rows) :]
            texts.append([passage.text, *(passage.with_word(place, word) for word in flips[-1])])
            passage.asked += len(rows) + len(texts[-1])
            passage.gradients += len(rows)
        scores = self._mean_scores(texts, queries)
        for passage, place, words, own in zip(passages, places, flips, scores, strict=True):
            best = int(np.argmax(own))
            if best > 0:
                passage.words[place] = words[best - 1]

    def _queries(self, passage: Passage) -> FloatArray:
        """Rows of the queries of this step: float32[b, …]."""
        if len(passage.aim) <= self._batch:
            return passage.aim
        chosen = passage.generator.choice(len(passage.aim), self._batch, replace=False)
        return passage.aim[np.sort(chosen)]

    def _flips(self, passage: Passage, place: int, gradients: Sequence[TokenGradients]) -> list[str]:
        """The words of highest first-order estimate for a place; none where the model does not see it."""
        start = len(" ".join(passage.words[:place])) + (place > 0)
        end = start + len(passage.words[place])
        total = np.zeros(self._embeddings.shape[1], dtype=np.float64)
        seen = False
        for each in gradients:
            within = (each.spans[:, 0] < end) & (each.spans[:, 1] > start)
            total += each.gradients[within].astype(np.float64).sum(axis=0)
            seen |= bool(within.any())
        if not seen:
            return []
        estimates = self._embeddings.astype(np.float64) @ total
        count = min(len(estimates), self._candidates + 1)
        best = np.argpartition(-estimates, count - 1)[:count]
        ordered = best[np.argsort(-estimates[best], kind="stable")].tolist()
        return [self.words[at] for at in ordered if self.words[at] != passage.words[place]][
            : self._candidates
        ]

    def _mean_scores(self, texts: list[list[str]], queries: Sequence[FloatArray]) -> list[FloatArray]:
        """Mean score of each text with the queries of its passage, in lists as the texts come."""
        found: list[FloatArray] = []
        for first, last in _groups([len(own) for own in texts]):
            rows = self._model.encode_texts([text for own in texts[first:last] for text in own], "passages")
            for own, queried in zip(texts[first:last], queries[first:last], strict=True):
                own_rows, rows = rows[: len(own)], rows[len(own) :]
                found.append(self._model.scores.matrix(queried, own_rows).mean(axis=0))
        return found


def _groups(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and end of consecutive groups of at most :data:`_TEXTS_AT_ONCE` texts, or of one list."""
    first = total = 0
    for number, size in enumerate(sizes):
        if number > first and total + size > _TEXTS_AT_ONCE:
            yield first, number
            first, total = number, 0
        total += size
    yield first, len(sizes)
