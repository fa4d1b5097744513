"""The words of a passage: what the attack may replace, and the text after it has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

# Runs of letters that are not part of an identifier, a number or a contraction: `num_layers`, `x1` and
# "don't" stay as they are. Single letters are symbols more often than words.
_WORD = re.compile(r"(?<![\w'’])[^\W\d_]{2,}(?![\w'’])")


@dataclass(frozen=True)
class Words:
    """A text and the places of its words, in text order."""

    text: str

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """Start and end (exclusive, in characters) of every word."""
        return [match.span() for match in _WORD.finditer(self.text)]

    def __getitem__(self, index: int) -> str:
        start, end = self.spans[index]
        return self.text[start:end]

    def __len__(self) -> int:
        return len(self.spans)

    def replace(self, replacements: Mapping[int, str]) -> str:
        """The text with the words at some indexes replaced, everything else untouched."""
        parts, position = [], 0
        for index in sorted(replacements):
            start, end = self.spans[index]
            parts += [self.text[position:start], replacements[index]]
            position = end
        return "".join([*parts, self.text[position:]])


def match_case(synonym: str, word: str) -> str:
    """``synonym`` capitalised as ``word`` is: lower case, Title or UPPER."""
    if len(word) > 1 and word.isupper():
        return synonym.upper()
    return synonym[:1].upper() + synonym[1:] if word[:1].isupper() else synonym
