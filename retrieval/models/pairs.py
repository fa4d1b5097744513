"""Pairs of a query and a passage as one sequence, as a tokenizer joins them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from retrieval.data.arrays import within
from retrieval.data.layout import TokenBatch, group_tokens
from retrieval.data.testset import IntArray

_TYPES = "token_type_ids"
_ANY = "a"
"""A text of at least one token."""


@dataclass(frozen=True)
class Template:
    """What a tokenizer puts around a query and a passage that it joins.

    A tokenizer that knows no pairs, such as one trained here, joins them as BERT's does: each text ends as a
    text by itself would, and tokens after the query have type 1.
    """

    before: tuple[int, ...]
    """Ids of special tokens before the query, ..."""
    between: tuple[int, ...]
    after: tuple[int, ...]
    types: tuple[int, int, int, int, int]
    """Token types of the five parts, in their order; all zero for a model that has none."""
    single: tuple[int, int]
    """Special tokens before and after a text by itself."""
    known: bool
    """Whether the tokenizer itself joins pairs so."""

    @classmethod
    def of(cls, tokenizer: Any) -> Template:
        """The template of a fast tokenizer."""
        from tokenizers import Tokenizer

        backend: Any = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        backend.no_truncation()
        backend.no_padding()
        alone, pair = backend.encode(_ANY), backend.encode(_ANY, _ANY)
        first, last = _span(alone.sequence_ids, 0)
        prefix, suffix = tuple(alone.ids[:first]), tuple(alone.ids[last:])
        if (prefix or suffix) and None not in pair.sequence_ids:
            return cls(prefix, suffix, suffix, (0, 0, 0, 1, 1), (len(prefix), len(suffix)), False)
        typed = _TYPES in tokenizer.model_input_names
        (start, stop), (begin, end) = (_span(pair.sequence_ids, number) for number in (0, 1))
        parts = (slice(0, start), slice(start, stop), slice(stop, begin), slice(begin, end), slice(end, None))
        kinds = [pair.type_ids[part][0] if typed and pair.type_ids[part] else 0 for part in parts]
        before, between, after = (tuple(pair.ids[parts[part]]) for part in (0, 2, 4))
        types = (kinds[0], kinds[1], kinds[2], kinds[3], kinds[4])
        return cls(before, between, after, types, (first, len(suffix)), True)

    @property
    def specials(self) -> int:
        """Special tokens of a pair."""
        return len(self.before) + len(self.between) + len(self.after)

    def lengths(self, first: IntArray, second: IntArray, longest: int | None) -> tuple[IntArray, IntArray]:
        """Tokens int64[n] that queries and passages of ``first`` and ``second`` tokens keep in a pair.

        Texts come with the special tokens of a text by itself. Of a pair longer than ``longest`` the longer
        text is cut, then both to one length ("longest first").
        """
        first, second = (np.maximum(sizes - sum(self.single), 0) for sizes in (first, second))
        if longest is None:
            return first, second
        room = max(0, longest - self.specials)
        shorter, longer = np.minimum(first, second), np.maximum(first, second)
        over = shorter + longer > room
        longer = np.where(over, np.maximum(shorter, room - shorter), longer)
        halved = shorter + longer > room
        shorter = np.where(halved, room // 2, shorter)
        longer = np.where(halved, room // 2 + room % 2, longer)
        swapped = first > second
        return np.where(swapped, longer, shorter), np.where(swapped, shorter, longer)

    def joining(self, tokenizer: Any) -> Any:
        """``tokenizer``, or a copy of it that joins pairs as this template does."""
        if self.known:
            return tokenizer
        from tokenizers.processors import TemplateProcessing

        taught = copy.deepcopy(tokenizer)
        before, between, after = (
            taught.convert_ids_to_tokens(list(ids)) for ids in (self.before, self.between, self.after)
        )
        kind = self.types[3]
        taught.backend_tokenizer.post_processor = TemplateProcessing(
            single=[*before, "$A", *between],
            pair=[*before, "$A", *between, f"$B:{kind}", *(f"{token}:{kind}" for token in after)],
            special_tokens=list(dict(zip(before + between, self.before + self.between)).items()),
        )
        if kind:
            taught.model_input_names = [*dict.fromkeys([*taught.model_input_names, _TYPES])]
            taught.init_kwargs["model_input_names"] = taught.model_input_names
        return taught


def _span(owners: list[int | None], number: int) -> tuple[int, int]:
    places = [place for place, owner in enumerate(owners) if owner == number]
    return places[0], places[-1] + 1


@dataclass(frozen=True)
class Pairs:
    """Joined pairs; a *number* stands for a token of the tables below, 0 for a blank one."""

    numbers: NDArray[np.int64]
    """int64[Σ lengths], pair after pair."""
    lengths: NDArray[np.int64]
    """int64[n]."""
    ids: Tensor
    """int64[numbers], on the host: token id of each number, ..."""
    types: Tensor
    """... its type, ..."""
    offset: Tensor | None
    """... and what is added to its word embedding: float32[numbers, hidden], on the device."""

    @classmethod
    def of(
        cls,
        template: Template,
        rows: tuple[Tensor, Tensor],
        members: tuple[IntArray, IntArray],
        longest: int | None,
    ) -> Pairs:
        """Join rows of queries and of passages, ``[·, length, 1]`` or ``[·, length, 1 + hidden]``.

        ``members``: int64[n] each, the query and the passage of each pair; ``longest``: tokens of a pair.
        """
        ids = [side.detach()[..., 0].long().cpu() - 1 for side in rows]
        sizes = [(side >= 0).sum(1).numpy() for side in ids]
        kept = template.lengths(sizes[0][members[0]], sizes[1][members[1]], longest)
        special = (*template.before, *template.between, *template.after)
        starts = np.cumsum([1, *map(len, (template.before, template.between, template.after))])
        first = [1 + len(special), 1 + len(special) + ids[0].numel()]
        texts = [
            begin + chosen * side.shape[1] + template.single[0]
            for begin, chosen, side in zip(first, members, ids, strict=True)
        ]
        counts: list[int | IntArray] = [
            len(template.before),
            kept[0],
            len(template.between),
            kept[1],
            len(template.after),
        ]
        begins = [starts[0], texts[0], starts[1], texts[1], starts[2]]
        shape = (len(members[0]), 1)
        segments, places = (
            np.concatenate([np.broadcast_to(np.reshape(part, (-1, 1)), shape) for part in parts], axis=1)
            for parts in (counts, begins)
        )
        numbers = np.repeat(places.ravel(), segments.ravel()) + within(segments.ravel())
        head = torch.tensor([0, *special])
        tables = torch.cat([head, *(side.flatten() for side in ids)])
        return cls(numbers, segments.sum(1), tables, _types(template, ids), _offsets(rows, len(head)))

    def part(
        self, chosen: NDArray[np.int64], device: torch.device
    ) -> tuple[TokenBatch, Tensor, Tensor | None]:
        """Some pairs as a batch, with each token's type ``[T]`` and offset ``[T, hidden]``."""
        starts = np.cumsum(self.lengths) - self.lengths
        lengths = self.lengths[chosen]
        own = self.numbers[np.repeat(starts[chosen], lengths) + within(lengths)]
        batch = group_tokens(own, lengths)
        numbers = batch.ids
        offset = None if self.offset is None else self.offset[numbers.to(device)]
        batch = replace(batch, ids=self.ids[numbers].clamp_min(0))
        return batch.to(device), self.types[numbers].to(device), offset


def _types(template: Template, ids: list[Tensor]) -> Tensor:
    before, query, between, passage, after = template.types
    parts = [
        (0, 1),
        (before, len(template.before)),
        (between, len(template.between)),
        (after, len(template.after)),
        (query, ids[0].numel()),
        (passage, ids[1].numel()),
    ]
    return torch.cat([torch.full((count,), kind) for kind, count in parts])


def _offsets(rows: tuple[Tensor, Tensor], head: int) -> Tensor | None:
    """Offsets beside the ids of rows, zero for special tokens and for rows without."""
    width = max(side.shape[-1] for side in rows) - 1
    if width == 0:
        return None
    parts = [
        side[..., 1:].flatten(0, 1) if side.shape[-1] > 1 else side.new_zeros(side[..., 0].numel(), width)
        for side in rows
    ]
    return F.pad(torch.cat(parts), (0, 0, head, 0))
