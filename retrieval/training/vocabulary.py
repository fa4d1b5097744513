"""Which tokens of a vocabulary are words that can be replaced by other words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from retrieval.data.layout import OnDevice

WORD_START = ("▁", "Ġ")
"""Marks of SentencePiece and of byte-level BPE; WordPiece marks what continues a word instead."""

CONTINUATION = "##"


@dataclass(frozen=True)
class Vocabulary(OnDevice):
    """Properties of every token id, bool ``[V]``.

    ``whole``: begins a word and holds a letter; ``continues``: goes on with the word before it;
    ``special``: [CLS], [SEP], padding and the like. ``choices``: int64, the ids that are ``whole``.
    """

    whole: Tensor
    continues: Tensor
    special: Tensor
    choices: Tensor

    @classmethod
    def of(cls, tokenizer: Any) -> Vocabulary:
        """The properties of a fast tokenizer's vocabulary."""
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        size = max(vocabulary.values()) + 1
        whole, continues, special = (torch.zeros(size, dtype=torch.bool) for _ in range(3))
        # Either mark can also occur as a character of the text, so the more frequent one decides.
        starts, continuations = (
            sum(token.startswith(mark) for token in vocabulary) for mark in (WORD_START, CONTINUATION)
        )
        marked = starts > continuations
        for token, index in vocabulary.items():
            continues[index] = not token.startswith(WORD_START) if marked else token.startswith(CONTINUATION)
            whole[index] = not continues[index] and any(map(str.isalpha, token.lstrip("".join(WORD_START))))
        special[tokenizer.all_special_ids] = True
        whole &= ~special
        return cls(whole, continues & ~special, special, whole.nonzero()[:, 0])

    def replaceable(self, ids: Tensor) -> Tensor:
        """Which of the tokens ``ids`` ``[T]`` are words by themselves: bool ``[T]``.

        A word of several tokens is left alone: half of it replaced would be no word. The layout begins
        every sequence with a token that continues nothing, so the last token of one is not mistaken.
        """
        continued = torch.cat([self.continues[ids[1:]], self.continues.new_zeros(1)])
        return self.whole[ids] & ~continued
