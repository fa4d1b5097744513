"""The dual encoder: one backbone for queries and passages, pooling, projection, inner product."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import BertModel

from retrieval.config import ModelConfig
from retrieval.data.layout import Group, TokenBatch
from retrieval.models import bert
from retrieval.models.slots import sequence_slots

ComputeType = Literal["32", "bf16"]
DTYPES: dict[str, torch.dtype] = {"32": torch.float32, "bf16": torch.bfloat16}


class DualEncoder(nn.Module):
    """Maps token sequences to vectors whose inner product is the relevance score.

    Cosine similarity and temperature are applied to the vectors (each divided by its norm and by the
    square root of the temperature), so that every score anywhere is a plain inner product. Parameters
    are fp32; ``precision`` names the type of the matrix products in the backbone. Pooling, projection
    and scores are always fp32.
    """

    def __init__(self, backbone: nn.Module, config: ModelConfig, precision: str = "32") -> None:
        super().__init__()
        self.backbone = backbone
        self.config = config
        self.precision = precision
        self.mini_batch_size: int | None = None
        """Texts encoded at a time while gradients are recorded; ``None``: all at once."""
        self.packed = bert.supports(backbone)
        self._weights: list[bert.LayerWeights] | None = None
        self.operations = bert.PLAIN
        """Position-wise operations; compiled ones compute the same."""
        self.hidden = hidden = int(backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.projection = nn.Linear(hidden, config.projection) if config.projection else None
        self.dimension = config.projection or hidden
        if self.projection is not None:
            # Inner products of unrelated texts start with a standard deviation of about one.
            nn.init.normal_(self.projection.weight, std=hidden**-0.5 * config.projection**-0.25)
            nn.init.zeros_(self.projection.bias)

    def forward(self, batch: TokenBatch, offset: Tensor | None = None) -> Tensor:
        """Vectors of the sequences in the caller's order, fp32 ``[n, dimension]``.

        ``offset``: ``[T, hidden]`` added to the word embeddings (adversarial perturbation).
        """
        if self.recomputes and torch.is_grad_enabled():
            return self._in_chunks(batch, offset)
        return self._encode(batch, offset)

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Within, no parameter changes: weights of layers are cast for computation once, without gradient."""
        if self.packed:
            with torch.no_grad():
                self._weights = bert.layer_weights(self._bert, DTYPES[self.precision])
        try:
            yield
        finally:
            self._weights = None

    @property
    def _bert(self) -> BertModel:
        return cast(BertModel, self.backbone)

    @property
    def recomputes(self) -> bool:
        """Whether a backward pass repeats the forward pass."""
        return self.mini_batch_size is not None

    def _in_chunks(self, batch: TokenBatch, offset: Tensor | None) -> Tensor:
        """Gradient caching (Gao et al. 2021, arXiv 2101.06983): activations of one chunk at a time.

        The forward pass keeps the vectors alone; the backward pass encodes each chunk again, with the same
        dropout, when the gradient of its vectors is known. Gradients are those of the whole batch, up to
        rounding.
        """
        assert self.mini_batch_size is not None
        vectors = [
            checkpoint(self._encode, chunk, _part(offset, span, len(chunk.ids)), use_reentrant=False)
            for chunk, span in batch.chunks(self.mini_batch_size)
        ]
        return torch.cat(vectors)[batch.inverse]

    def _encode(self, batch: TokenBatch, offset: Tensor | None) -> Tensor:
        if self.packed:
            states = bert.forward(
                self._bert, batch, DTYPES[self.precision], offset, self._weights, self.operations
            )
            rows = sequence_slots(batch).to_slots(states)
            parts = ((group, rows[group.start : group.stop]) for group in batch.groups)
            blocks = [part.view(group.count, group.width, -1) for group, part in parts]
        else:
            blocks = [self._plain(batch, group, offset) for group in batch.groups]
        pooled = torch.cat(
            [self._pool(block, batch, group) for block, group in zip(blocks, batch.groups, strict=True)]
        )
        return self._finish(pooled)[batch.inverse]

    def _plain(self, batch: TokenBatch, group: Group, offset: Tensor | None) -> Tensor:
        """One group through the backbone's own forward: the path of every other architecture."""
        # Widths are rounded up for attention alone; here every token of padding costs a whole layer.
        longest = int(batch.sizes[group.first + group.count - 1])
        limit = getattr(self.backbone.config, "max_position_embeddings", None) or longest
        width = min(longest, limit)
        places = batch.places[group.start : group.stop].view(group.count, group.width)[:, :width]
        words = self.backbone.get_input_embeddings()(batch.ids[places])  # type: ignore[operator]
        if offset is not None:
            words = words + offset[places]
        enabled = self.precision == "bf16"
        with torch.autocast(words.device.type, dtype=torch.bfloat16, enabled=enabled):
            states: Tensor = self.backbone(
                inputs_embeds=words, attention_mask=batch.mask(group)[:, :width].long()
            ).last_hidden_state
        return F.pad(states, (0, 0, 0, group.width - width))

    def _pool(self, block: Tensor, batch: TokenBatch, group: Group) -> Tensor:
        if self.config.pooling == "cls":
            return block[:, 0].float()
        if not group.padded:
            return block.float().mean(1)
        mask = batch.mask(group).to(block.dtype)
        # The sum over tokens is a matrix product, which accumulates in fp32 whatever the type.
        summed = torch.bmm(mask[:, None], block)[:, 0].float()
        return summed / mask.sum(1, keepdim=True, dtype=torch.float32)

    def _finish(self, pooled: Tensor) -> Tensor:
        vectors = self.projection(pooled) if self.projection is not None else pooled
        if self.config.similarity == "cosine":
            vectors = F.normalize(vectors, dim=-1)
        scaled: Tensor = vectors * self.config.temperature**-0.5
        return scaled


def _part(offset: Tensor | None, span: slice, length: int) -> Tensor | None:
    """Rows of a chunk, with zeros for its blank tokens."""
    if offset is None:
        return None
    rows = offset[span]
    return F.pad(rows, (0, 0, 0, length - len(rows)))
