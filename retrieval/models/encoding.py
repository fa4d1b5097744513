"""Encoding many texts: sorted by length, in batches of equal token count, no gradient."""

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from retrieval.data.arrays import FloatArray, wider
from retrieval.data.layout import COUNT_MULTIPLE, group_tokens
from retrieval.data.tokens import TokenStore
from retrieval.models.scorer import Scorer
from retrieval.run.heap import HugePages

TOKENS_PER_BATCH = 4096
"""Activations of larger batches leave a processor's cache: at bert-base half as many texts a second."""
NUMBERS_PER_BATCH = 2**20
"""Up to these activations a layer more tokens are taken: smaller ones leave operations too little to do."""
FIRST_BATCHES = 512
"""Batches after which memory moves into huge pages: what that takes, fewer than some 50,000 texts do not win
back."""
TOKENS_PER_GPU_BATCH = 2**16
"""A GPU is kept busy by more of them at once; the activations of a layer of bert-base take 0.6 GB."""


def encode_rows(
    scorer: Scorer, store: TokenStore, rows: NDArray[np.int64], length: int = 0, describe: str | None = None
) -> FloatArray:
    """Rows of the texts at ``rows`` of a token store, float32[n, …], in their order.

    ``length``: tokens of a text that have a place in its row; 0: as many as the longest of these has.
    ``describe`` names the work on a progress bar; ``None`` shows none.
    """
    device = next(scorer.parameters()).device
    lengths = store.lengths(rows)
    found = np.zeros((len(rows), *scorer.row_shape(length or int(lengths.max(initial=1)))), np.float32)
    batches = batches_of(lengths, scorer.hidden, device)
    training = scorer.training
    # Looking at the memory of the process takes milliseconds, and an attack encodes a few texts at a time.
    huge = HugePages(FIRST_BATCHES) if device.type == "cpu" and len(batches) > FIRST_BATCHES else None
    scorer.eval()
    try:
        with torch.inference_mode(), scorer.unchanged():
            for own in tqdm(batches, desc=describe, disable=describe is None, leave=False, mininterval=1.0):
                batch = group_tokens(*store.gather(rows[own])).to(device)
                encoded = scorer.to_host(scorer(batch))
                found = wider(found, encoded.shape[1])
                found[own, : encoded.shape[1]] = encoded
                if huge is not None:
                    huge.round_done()
    finally:
        scorer.train(training)
    return found


def batches_of(lengths: NDArray[np.int64], hidden: int, device: torch.device) -> list[NDArray[np.int64]]:
    """Texts of each batch, by length and of about as many tokens: rows of ``lengths``, which are int64[n]."""
    tokens = max(TOKENS_PER_BATCH, NUMBERS_PER_BATCH // hidden)
    if device.type != "cpu":
        tokens = TOKENS_PER_GPU_BATCH
    order = np.argsort(lengths, kind="stable")
    return [order[span] for span in _cut(lengths[order], tokens)]


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
