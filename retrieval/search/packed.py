"""Encoding by a sentence-transformers model whose transformer is a BERT, without work on padding."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from retrieval.data.arrays import FloatArray
from retrieval.data.layout import Block, group_tokens
from retrieval.models import bert
from retrieval.models.checkpoint import AFTER_POOLING
from retrieval.models.encoding import batches_of
from retrieval.models.scorer import DTYPES
from retrieval.search.reading import Count, uncounted

TEXTS_A_CHUNK = 1024
"""Texts that are tokenised together."""

BAR_TEXTS = 1000
"""From so many texts on a progress bar shows: a large model takes seconds for them."""

AFTER = ("Pooling", *AFTER_POOLING)
"""Modules that may follow."""

_MASKED = ("input_ids", "attention_mask")


class PackedSentenceTransformer:
    """The vectors of :meth:`SentenceTransformer.encode`, by the packed forward pass of training.

    Texts are prepared by the model itself, and its modules after the transformer run as they are. In fp32 the
    vectors are the model's own up to rounding, in bf16 to some 10⁻³ of their length.
    """

    def __init__(self, model: Any, precision: str) -> None:
        self._model, self._dtype = model, DTYPES[precision]
        transformer, *self._after = list(model)
        self._backbone = transformer.auto_model
        self._device = next(self._backbone.parameters()).device

    @staticmethod
    def supports(model: Any) -> bool:
        """Whether it is a BERT in fp32 and modules that look at nothing but its states and their mask."""
        first, *after = [*model] or [None]
        backbone = getattr(first, "auto_model", None)
        return (
            isinstance(backbone, nn.Module)
            and type(first).__name__ == "Transformer"
            and bert.supports(backbone)
            and next(backbone.parameters()).dtype == torch.float32
            and all(type(module).__name__ in AFTER for module in after)
            # Leaving out the tokens of the prompt takes its length.
            and all(getattr(module, "include_prompt", True) for module in after)
        )

    def __call__(
        self, texts: Sequence[str], prompt: str, task: str, describe: str, count: Count = uncounted
    ) -> FloatArray:
        """float32[n, d] before any normalisation that the caller asks for.

        ``prompt``: text before each; ``task``: ``query`` or ``document``, for modules that tell them apart;
        ``describe``: names the work on a progress bar; ``count``: sees the prepared texts.
        """
        ids, lengths = self._tokens(texts, prompt, task, count)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        found: FloatArray | None = None
        self._model.eval()
        bar = tqdm(total=len(texts), desc=describe, unit="text", leave=False, disable=len(texts) < BAR_TEXTS)
        with bar, torch.inference_mode():
            weights = bert.layer_weights(self._backbone, self._dtype)
            for rows in batches_of(lengths, self._backbone.config.hidden_size, self._device):
                own = np.concatenate([ids[starts[row] : starts[row + 1]] for row in rows])
                vectors = self._vectors(own, lengths[rows], weights).float().cpu().numpy()
                if found is None:
                    found = np.empty((len(texts), vectors.shape[1]), np.float32)
                found[rows] = vectors
                bar.update(len(rows))
        return np.empty((0, 0), np.float32) if found is None else found

    def _tokens(
        self, texts: Sequence[str], prompt: str, task: str, count: Count
    ) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of all texts, one after the other, and how many each has."""
        parts, lengths = [], []
        for start in range(0, len(texts), TEXTS_A_CHUNK):
            chunk = list(texts[start : start + TEXTS_A_CHUNK])
            features = self._model.preprocess(chunk, prompt=prompt or None, task=task)
            count(features)
            ids, mask = (features[name].cpu().numpy() for name in _MASKED)
            parts.append(ids[mask.astype(bool)])
            lengths.append(mask.sum(1))
        return np.concatenate(parts or [np.empty(0, np.int64)]), np.concatenate(lengths or [[]]).astype(int)

    def _vectors(self, ids: np.ndarray, lengths: np.ndarray, weights: list[bert.LayerWeights]) -> Tensor:
        batch = group_tokens(ids, lengths).to(self._device)
        states = bert.forward(self._backbone, batch, self._dtype, None, weights)
        return batch.by_caller(torch.cat([self._finished(block) for block in batch.blocks(states)]))

    def _finished(self, block: Block) -> Tensor:
        states = block.values[:, : block.longest].float()
        shape, device = states.shape[:2], states.device
        mask = torch.ones(shape, dtype=torch.long, device=device)
        if block.mask is not None:
            mask = block.mask[:, : block.longest].long()
        features: dict[str, Tensor] = {"token_embeddings": states, "attention_mask": mask}
        for module in self._after:
            features = module(features)
        return features["sentence_embedding"]
