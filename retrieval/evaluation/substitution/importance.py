"""In which order the words of a passage are tried."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from retrieval.evaluation.substitution.words import Words
from retrieval.search.retriever import TokenGradients


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
