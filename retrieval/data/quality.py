"""What makes texts hard or impossible to learn from and to measure: unknown words, no token, copies.

A finding is one of the registry's warnings, with the numbers of a collection.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.codes import Finding, finding
from retrieval.data.collection import Collection, Judgements
from retrieval.errors import DataError

MOST_UNKNOWN = 0.1
MOST_REPEATED = 0.01


@dataclass(frozen=True)
class TokenCounts:
    """Texts as a tokenizer reads them; special tokens and prompts are no tokens of a text."""

    texts: int = 0
    tokens: int = 0
    unknown: int = 0
    """Tokens that are the tokenizer's unknown token."""
    empty: int = 0
    """Texts of no token."""
    first_empty: int = -1
    """Row of the first of them."""

    def __add__(self, other: TokenCounts) -> TokenCounts:
        first = self.first_empty if self.first_empty >= 0 else other.first_empty
        return TokenCounts(
            self.texts + other.texts,
            self.tokens + other.tokens,
            self.unknown + other.unknown,
            self.empty + other.empty,
            first,
        )


class TokenCounter:
    """Counts tokens of texts as they come, apart from those that every text has."""

    def __init__(self, frame: list[int], blank: list[int], unknown: int | None) -> None:
        """Nothing is counted yet.

        ``frame``: ids that stand around every text; ``blank``: those of an empty text; ``unknown``: id of the
        unknown token, where there is one.
        """
        self._frame, self._blank, self._unknown = frame, blank, unknown
        self.counts = TokenCounts()

    def add(self, encoded: list[list[int]], flat: NDArray[np.int64]) -> None:
        """Count texts; ``flat``: the ids of all lists of ``encoded``, int64[Σ lengths]."""
        empty = [row for row, ids in enumerate(encoded) if ids == self._blank]
        filled = len(encoded) - len(empty)
        unknown = self._unknown
        around = len(empty) * len(self._blank) + filled * len(self._frame)
        self.counts += TokenCounts(
            texts=len(encoded),
            tokens=len(flat) - around,
            unknown=0 if unknown is None else self._count_unknown(unknown, flat, len(empty), filled),
            empty=len(empty),
            first_empty=self.counts.texts + empty[0] if empty else -1,
        )

    def _count_unknown(self, unknown: int, flat: NDArray[np.int64], empty: int, filled: int) -> int:
        # Tokenizers whose unknown token also ends texts have it in the frame.
        blank, frame = (ids.count(unknown) for ids in (self._blank, self._frame))
        return int((flat == unknown).sum()) - empty * blank - filled * frame


@dataclass(frozen=True)
class ReadTexts:
    """The ``queries`` or ``passages`` of a collection, all or those that were encoded, as they were read."""

    collection: Collection
    side: str
    counts: TokenCounts

    def findings(self) -> Iterator[Finding]:
        """Their warnings."""
        for name, message in (
            ("UNKNOWN_WORDS", self._unknown()),
            ("EMPTY_TEXTS", self._empty()),
            ("REPEATED_TEXTS", self._repeated()),
            ("PAIRS_LEFT_OUT", self._left_out()),
        ):
            if message is not None:
                yield finding(name, f"{self.collection.name}: {message}")

    def check_learnable(self) -> None:
        """Refuse texts that no model can tell apart.

        Raises:
            DataError: None of them holds a token that the tokenizer knows.
        """
        if self.counts.texts and self.counts.tokens <= self.counts.unknown:
            raise DataError(
                f"{self.collection.name}: none of its {self.counts.texts} {self.side} holds a word that the "
                "tokenizer knows, so nothing can be learned; give other texts, a model.pretrained that knows "
                "their script, or model.init=scratch"
            )

    def _unknown(self) -> str | None:
        unknown, tokens = self.counts.unknown, self.counts.tokens
        if unknown <= MOST_UNKNOWN * tokens:
            return None
        share = f"{unknown / tokens:.0%} of the {tokens:,} tokens of its {self.side}"
        return f"the tokenizer does not know {share}"

    def _empty(self) -> str | None:
        if not self.counts.empty:
            return None
        rows = [self.counts.first_empty]
        ids = self.collection.query_ids if self.side == "queries" else self.collection.passage_ids
        first = ids(rows)[0]
        return f"{self.counts.empty:,} of {self.counts.texts:,} {self.side} hold no token, {first!r} first"

    def _left_out(self) -> str | None:
        """Pairs without text that the collection's source or its judgements dropped, by split."""
        side = {"queries": "query", "passages": "passage"}[self.side]
        ending = f"/empty_{side}"
        dropped = {
            name.removeprefix("dropped/").removesuffix(ending): count
            for name, count in self.collection.counts.items()
            if name.startswith("dropped/") and name.endswith(ending) and count
        }
        if not dropped:
            return None
        listed = ", ".join(f"{count:,} of {split}" for split, count in dropped.items())
        return f"pairs whose {side} has no text: {listed}"

    def _repeated(self) -> str | None:
        counts = self.collection.counts
        texts, repeated = counts[self.side], counts[f"{self.side}/repeated_text"]
        if repeated <= MOST_REPEATED * texts:
            return None
        return f"{repeated:,} of {texts:,} {self.side} repeat the text of another ({repeated / texts:.1%})"


def findings_of(parts: Iterable[ReadTexts]) -> list[Finding]:
    """The warnings of all parts, in their order."""
    return [found for part in parts for found in part.findings()]


def show(findings: Iterable[Finding]) -> None:
    """Write warnings to standard error, one a line."""
    for found in findings:
        line = f"warning: {found['code']}: {found['message']}; {found['remedy']}"
        print(line, file=sys.stderr, flush=True)


def check_negatives(name: str, collection: Collection, pairs: Judgements) -> None:
    """Refuse training pairs of which none has a negative among the others.

    Raises:
        DataError: All have one query or one passage, or all queries or passages have one text.
    """
    for what, rows, hashes in (
        ("query", pairs.query_rows, collection.query_hashes()),
        ("passage", pairs.passage_rows, collection.passage_hashes()),
    ):
        if len(np.unique(rows)) < 2:
            raise DataError(
                f"{name}: its {len(pairs)} training pairs have one {what}, so none has a negative and the "
                "loss is 0 throughout; give more pairs, or raise data.frac"
            )
        if len(np.unique(hashes[rows])) < 2:
            raise DataError(
                f"{name}: the {what} of all its {len(pairs)} training pairs is one text, so nothing can be "
                "learned; give pairs of other texts, or raise data.frac"
            )
