"""Encoding many texts: sorted by length, in batches of equal token count, no gradient."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from retrieval.data.layout import COUNT_MULTIPLE, group_tokens
from retrieval.data.tokens import TokenStore
from retrieval.models.encoder import DualEncoder

TOKENS_PER_BATCH = 4096
"""Activations of larger batches leave a processor's cache: at bert-base half as many texts a second."""
NUMBERS_PER_BATCH = 2**20
"""Up to these activations a layer more tokens are taken: smaller ones leave operations too little to do."""


def encode_rows(
    encoder: DualEncoder,
    store: TokenStore,
    rows: NDArray[np.int64],
    describe: str | None = None,
) -> NDArray[np.float32]:
    """Vectors of the texts at ``rows`` of a token store, float32 ``[n, dimension]``, in their order.

    ``describe`` names the work on a progress bar; ``None`` shows none.
    """
    device = next(encoder.parameters()).device
    order = np.argsort(store.lengths(rows), kind="stable")
    vectors = np.empty((len(rows), encoder.dimension), np.float32)
    tokens = max(TOKENS_PER_BATCH, NUMBERS_PER_BATCH // encoder.hidden)
    batches = _cut(store.lengths(rows)[order], tokens)
    training = encoder.training
    encoder.eval()
    try:
        with torch.inference_mode(), encoder.unchanged():
            for span in tqdm(batches, desc=describe, disable=describe is None, leave=False, mininterval=1.0):
                batch = group_tokens(*store.gather(rows[order[span]])).to(device)
                vectors[order[span]] = encoder(batch).cpu().numpy()
    finally:
        encoder.train(training)
    return vectors


def _cut(lengths: NDArray[np.int64], tokens: int) -> list[slice]:
    """Consecutive spans of about ``tokens`` tokens, of as many texts as a group of the layout may have."""
    spans, start, ends = [], 0, np.cumsum(lengths)
    while start < len(lengths):
        budget = tokens + (ends[start - 1] if start else 0)
        count = int(np.searchsorted(ends, budget, side="right")) - start
        count = max(count // COUNT_MULTIPLE, 1) * COUNT_MULTIPLE
        spans.append(slice(start, min(start + count, len(lengths))))
        start += count
    return spans
