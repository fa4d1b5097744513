"""What a sentence-transformers model's tokenizer makes of the texts that it encodes, counted on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.data.collection import Collection
from retrieval.data.quality import ReadTexts, TokenCounts
from retrieval.data.testset import IntArray
from retrieval.data.tokens import Side

TASKS: dict[Side, str] = {"queries": "query", "passages": "document"}
"""What sentence-transformers calls a side, for modules that tell them apart."""

_BLOCK = 64
_NO_TEXTS = torch.empty(0, 2, dtype=torch.long)


Count = Callable[[Mapping[str, Any]], None]
"""Counts texts by the features that a model prepared of them."""


def uncounted(_features: Mapping[str, Any]) -> None:
    """The :data:`Count` of texts that nobody asks about."""


class Reading:
    """Counts by collection and side, taken from the model's own input: nothing is tokenised for them."""

    def __init__(self, model: Any, prompts: Mapping[Side, str]) -> None:
        """``prompts``: what the model puts before the texts of a side."""
        self._model = model
        self._prompts = prompts
        self._unknown = _unknown_token(model.tokenizer)
        self._read: dict[tuple[str, Side], ReadTexts] = {}
        self._seen: dict[tuple[str, Side], NDArray[np.bool_]] = {}

    @property
    def read(self) -> Sequence[ReadTexts]:
        """What was counted so far."""
        return list(self._read.values())

    @contextmanager
    def of(self, collection: Collection, side: Side, rows: IntArray) -> Iterator[Count]:
        """Count what is encoded meanwhile: the ``queries`` or ``passages`` of a collection at ``rows``.

        Forward passes of the model are counted by themselves; what encodes without them hands over the
        features of its texts. Rows that have all been counted are not counted again: dev and test sets share
        candidates.
        """
        seen = self._seen.setdefault((collection.name, side), np.zeros(collection.counts[side], bool))
        if seen[rows].all():
            yield uncounted
            return
        seen[rows] = True
        around = self._counts(self._features([""], side)).tolist()
        frame, in_frame = around[0] if around else (0, 0)
        found: list[torch.Tensor] = []

        def count(_model: Any, inputs: tuple[Any, ...]) -> None:
            found.append(self._counts(inputs[0]))

        handle = self._model.register_forward_pre_hook(count)
        try:
            yield lambda features: found.append(self._counts(features))
        finally:
            handle.remove()
        lengths, unknown = torch.cat(found or [_NO_TEXTS]).cpu().T.numpy()
        blank = lengths <= frame
        counted = TokenCounts(
            texts=len(lengths),
            tokens=int((lengths[~blank] - frame).sum()),
            unknown=max(0, int((unknown[~blank] - in_frame).sum())),
            empty=int(blank.sum()),
        )
        self._keep(collection, side, counted, rows, frame)

    def _keep(
        self, collection: Collection, side: Side, counted: TokenCounts, rows: IntArray, frame: int
    ) -> None:
        known = self._read.get((collection.name, side), ReadTexts(collection, side, TokenCounts())).counts
        if counted.empty and not known.empty:
            counted += TokenCounts(first_empty=self._first_empty(collection, side, rows, frame))
        self._read[collection.name, side] = ReadTexts(collection, side, known + counted)

    def _first_empty(self, collection: Collection, side: Side, rows: IntArray, frame: int) -> int:
        """The model saw its texts in an order of its own, so they are looked at again."""
        texts_of = collection.query_texts if side == "queries" else collection.passage_texts
        for start in range(0, len(rows), _BLOCK):
            own = rows[start : start + _BLOCK]
            lengths = self._counts(self._features(texts_of(own), side))[:, 0].numpy()
            if (lengths <= frame).any():
                return int(own[np.argmax(lengths <= frame)])
        return -1

    def _features(self, texts: Sequence[str], side: Side) -> Any:
        return self._model.preprocess(list(texts), prompt=self._prompts[side] or None, task=TASKS[side])

    def _counts(self, features: Mapping[str, Any]) -> torch.Tensor:
        """int64[n, 2]: tokens and unknown tokens of each text; of none where texts are no ids of tokens."""
        ids = features.get("input_ids")
        if ids is None:
            return _NO_TEXTS
        unknown = torch.zeros_like(ids, dtype=torch.long) if self._unknown is None else ids == self._unknown
        if "attention_mask" in features:
            mask = features["attention_mask"].bool()
            return torch.stack([mask.sum(1), (unknown & mask).sum(1)], 1)
        if "offsets" in features:
            starts = torch.cat([features["offsets"], torch.tensor([ids.numel()], device=ids.device)])
        elif "cu_seq_lens_q" in features:
            starts = features["cu_seq_lens_q"].long()
        else:
            return _NO_TEXTS
        sums = torch.cat([unknown.new_zeros(1, dtype=torch.long), unknown.flatten().long().cumsum(0)])
        return torch.stack([starts.diff(), sums[starts].diff()], 1)


def _unknown_token(tokenizer: Any) -> int | None:
    """Id of the unknown token of a tokenizer of transformers or of the tokenizers library."""
    if hasattr(tokenizer, "unk_token_id"):
        return tokenizer.unk_token_id  # type: ignore[no-any-return]
    name = getattr(getattr(tokenizer, "model", None), "unk_token", None)
    return tokenizer.token_to_id(name) if name else None
