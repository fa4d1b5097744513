"""Perturbations that write texts anew: the words in token ids, and batches whose sequences change length.

A step has token ids, not texts. Words of letters are read off the tokens and written by the tokenizer again,
one by one; everything else keeps its ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from retrieval.data.layout import group_tokens
from retrieval.models.flops import Work
from retrieval.training.adversary import WORD_START, AttackedBatch, Perturbed, Vocabulary


@dataclass(frozen=True)
class Word:
    """A word of ASCII letters in a sequence."""

    text: str
    first: int
    stop: int
    """Its tokens are those from ``first`` to ``stop − 1``."""


class Spelling:
    """Which words a tokenizer's ids spell, and the ids of words."""

    def __init__(self, tokenizer: Any, vocabulary: Vocabulary) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary

    @cached_property
    def _tokens(self) -> tuple[list[str], list[bool], list[bool]]:
        """Of each id: its letters, or nothing where it is not letters alone; whether it starts or goes on."""
        whole, continues = self._vocabulary.whole.tolist(), self._vocabulary.continues.tolist()
        letters = [""] * len(whole)
        for token, index in self._tokenizer.get_vocab().items():
            bare = token.lstrip("".join(WORD_START)).removeprefix("##")
            if bare.isascii() and bare.isalpha():
                letters[index] = bare
        return letters, whole, continues

    @cached_property
    def special(self) -> list[bool]:
        """Of each id: whether it frames texts; what stands for an unknown word is part of one."""
        special: list[bool] = self._vocabulary.special.tolist()
        unknown = getattr(self._tokenizer, "unk_token_id", None)
        if unknown is not None:
            special[unknown] = False
        return special

    @cached_property
    def _before(self) -> str:
        """What stands before a word where tokens mark the space before them."""
        marked = sum(token.startswith("Ġ") for token in self._tokenizer.get_vocab())
        return " " if marked > len(self._tokenizer.get_vocab()) / 10 else ""

    def words(self, ids: Sequence[int]) -> list[Word]:
        """The words in the token ids of a text."""
        letters, whole, continues = self._tokens
        found = []
        place = 0
        while place < len(ids):
            first, place = place, place + 1
            if not whole[ids[first]] or not letters[ids[first]]:
                continue
            while place < len(ids) and continues[ids[place]] and letters[ids[place]]:
                place += 1
            found.append(Word("".join(letters[i] for i in ids[first:place]), first, place))
        return found

    def ids(self, words: Sequence[str]) -> list[list[int]]:
        """Token ids of words, each by itself."""
        if not words:
            return []
        texts = [self._before + word for word in words]
        encoded: list[list[int]] = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        return encoded


@dataclass(frozen=True)
class Frame:
    """A sequence as special tokens before its text, the text, and special tokens behind it."""

    head: list[int]
    body: list[int]
    tail: list[int]

    @classmethod
    def of(cls, ids: list[int], special: Sequence[bool]) -> Frame:
        """The parts of a sequence."""
        first, stop = 0, len(ids)
        while first < stop and special[ids[first]]:
            first += 1
        while stop > first and special[ids[stop - 1]]:
            stop -= 1
        return cls(ids[:first], ids[first:stop], ids[stop:])

    def around(self, body: list[int], longest: int) -> list[int]:
        """The sequence with another text, which is cut so that all is no longer than ``longest``.

        Of special tokens behind the text the first ends it; more of them fill the sequence up to its length.
        """
        end, filling = self.tail[:1], self.tail[1:]
        body = body[: max(1, longest - len(self.head) - len(end))]
        found = [*self.head, *body, *end]
        length = len(self.head) + len(self.body) + len(self.tail)
        return found + filling[-1:] * max(0, length - len(found))


def sequences_of(batch: AttackedBatch) -> list[list[int]]:
    """Token ids of every sequence of a batch, in the caller's order."""
    return [row.tolist() for row in batch.tokens.split(batch.tokens.ids.cpu().numpy())]


def with_sequences(batch: AttackedBatch, sequences: list[list[int]]) -> Perturbed:
    """The batch with other sequences, as many, of any lengths above 0."""
    sizes = np.array([len(ids) for ids in sequences], dtype=np.int64)
    tokens = group_tokens(np.concatenate([np.array(ids, dtype=np.int64) for ids in sequences]), sizes)
    return Perturbed(tokens.to(batch.tokens.ids.device), None, Work(), sizes)
