"""Words of a passage replaced one after the other: their order, and the search over their replacements.

``wsra`` replaces words by synonyms, ``typo`` by the same words with a typing error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from retrieval.data.arrays import FloatArray
from retrieval.evaluation.adversarial.attack import Scene
from retrieval.evaluation.adversarial.records import Edit
from retrieval.evaluation.draws import Draws
from retrieval.evaluation.substitution.greedy import Choices, Climb, Greedy, Start
from retrieval.evaluation.substitution.words import Words
from retrieval.search.retriever import Attackable, TokenGradients

GRADIENT, RANDOM = "gradient", "random"
"""The order of the words: by the gradient's norm at their embedding rows, or at random."""

Replacements: TypeAlias = Callable[[str], list[str]]
"""What may stand in the place of a word, as it stands in the text."""


@dataclass(frozen=True)
class Rules:
    """How words are replaced."""

    words: int
    """Words replaced in a passage at most."""
    tries: int | None
    """Words tried in a passage; ``None``: all."""
    importance: str
    accept: str
    similarity: float
    seed: int


def search(
    scene: Scene, rules: Rules, replacements: Replacements, surrogate: Attackable | None
) -> tuple[list[tuple[Edit, ...]], int]:
    """The replaced words of each target, and how many texts the model was asked for.

    ``surrogate``: lends gradients in place of the attacked model. Fills the ways of the targets and the
    controls: as many of the words that could be replaced, by replacements chosen at random.
    """
    words = [Words(text) for text in scene.texts]
    guide: Attackable = surrogate or scene.model
    rows = surrogate.encode_texts(scene.queries.queries(), "queries") if surrogate else scene.query_rows
    orders = _orders(rules, guide, rows, scene, words)
    # A gradient is a pass of the model, too.
    gradients = int(rules.importance == GRADIENT and surrogate is None)
    climbs = [
        WordClimb(
            Start.of(scene, number, gradients),
            own,
            [index for index in order if replacements(own[index])],
            rules,
            replacements,
        )
        for number, (own, order) in enumerate(zip(words, orders, strict=True))
    ]
    Greedy(scene.model, scene.similarity, rules.similarity, rules.accept).run(climbs, progress=scene.progress)
    scene.traces.extend((*own.trace, own.moment()) for own in climbs)
    scene.controls.extend(own.at_random(rules.seed) for own in climbs)
    return [edits_of(own.words, own.replaced) for own in climbs], sum(own.queries for own in climbs)


def edits_of(words: Words, replaced: dict[int, str]) -> tuple[Edit, ...]:
    """Replaced words, by index, as edits in text order."""
    return tuple(Edit(words.spans[at][0], words[at], replaced[at]) for at in sorted(replaced))


@dataclass
class WordClimb(Climb):
    """A passage whose words are replaced."""

    words: Words
    order: list[int]
    """Words to try, by index, the most important first."""
    rules: Rules
    replacements: Replacements
    replaced: dict[int, str] = field(default_factory=dict)
    position: int = 0
    """Words looked at so far."""

    @property
    def spent(self) -> int:
        """Words that are replaced."""
        return len(self.replaced)

    def ended(self) -> bool:
        """See :class:`Climb`."""
        enough = self.rules.tries is not None and self.tried >= self.rules.tries
        return enough or self.spent >= self.rules.words or self.position >= len(self.order)

    def text(self) -> str:
        """See :class:`Climb`."""
        return self.words.replace(self.replaced)

    def choices(self) -> Choices:
        """What may stand in the place of the next word."""
        word = self.order[self.position]
        self.position += 1
        return [
            ((word, new), self.words.replace({**self.replaced, word: new}))
            for new in self.replacements(self.words[word])
        ]

    def take(self, choice: tuple[int, str]) -> int:
        """See :class:`Climb`."""
        word, new = choice
        self.replaced[word] = new
        return self.words.spans[word][0]

    def at_random(self, seed: int) -> tuple[Edit, ...]:
        """As many words as are replaced, chosen at random among those to try, by replacements at random."""
        draws = Draws("control", self.words.text, seed)
        chosen = [self.order[at] for at in draws.some(len(self.order), self.spent)]
        return edits_of(self.words, {word: draws.one(self.replacements(self.words[word])) for word in chosen})


def _orders(
    rules: Rules, guide: Attackable, guide_rows: FloatArray, scene: Scene, words: Sequence[Words]
) -> list[list[int]]:
    """Indexes of the words of each target, in the order in which they are tried."""
    targets, queries = scene.targets, scene.queries
    if rules.importance == RANDOM:
        rows = [(int(queries.query_rows[t.query]), int(queries.passage_rows[t.column])) for t in targets]
        return [at_random(own, (rules.seed, *row)) for own, row in zip(words, rows, strict=True)]
    own_queries = guide_rows[[target.query for target in targets]]
    gradients = guide.gradients([own.text for own in words], own_queries)
    return [by_gradient(own, gradient) for own, gradient in zip(words, gradients, strict=True)]


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
