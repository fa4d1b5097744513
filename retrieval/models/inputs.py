"""What the forward pass of any model of transformers is given, for a block of texts."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from retrieval.data.layout import Block


def of_block(ids: Block, config: Any) -> dict[str, Tensor]:
    """``input_ids`` and ``attention_mask``, int64[k, width] each, as wide as the longest text.

    Ids, not embeddings: positions of RoBERTa and MPNet, and the last token of a decoder, are found by the id
    of padding. ``config``: the model's own; it says what that id is.
    """
    # Widths are rounded up for attention alone; here every token of padding costs a whole layer.
    values = ids.values[:, : ids.longest]
    seen = torch.ones_like(values)
    if ids.mask is not None:
        seen = ids.mask[:, : ids.longest].long()
        values = values.masked_fill(seen == 0, int(getattr(config, "pad_token_id", None) or 0))
    if ids.unseen is not None:
        seen = seen.masked_fill(ids.unseen[:, : ids.longest], 0)
    return {"input_ids": values, "attention_mask": seen}


@contextlib.contextmanager
def moved(words: nn.Module, offset: Block | None) -> Iterator[None]:
    """Within, ``offset[k, width, hidden]`` is added to what the table ``words`` gives."""
    if offset is None:
        yield
        return
    added = offset.values[:, : offset.longest]
    hook = words.register_forward_hook(lambda _module, _inputs, embedded: embedded + added)
    try:
        yield
    finally:
        hook.remove()
