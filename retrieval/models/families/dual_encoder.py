"""``dual-encoder``: one vector a text, from one backbone for both sides; scores are inner products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.config import ModelConfig
from retrieval.data.layout import Block, TokenBatch
from retrieval.models.export import dense, save_folder
from retrieval.models.flops import Work, backbone_flops
from retrieval.models.scorer import Scorer
from retrieval.models.scores import INNER_PRODUCTS, Scores


class DualEncoder(Scorer):
    """Maps token sequences to vectors whose inner product is the relevance score.

    Cosine similarity and temperature are applied to the vectors (each divided by its norm and by the
    square root of the temperature), so that every score anywhere is a plain inner product. Pooling,
    projection and scores are always fp32.
    """

    family = "dual-encoder"

    def __init__(self, backbone: nn.Module, config: ModelConfig, precision: str = "32") -> None:
        super().__init__(backbone, config, precision)
        self.projection = nn.Linear(self.hidden, config.projection) if config.projection else None
        self.dimension = config.projection or self.hidden
        if self.projection is not None:
            # Inner products of unrelated texts start with a standard deviation of about one.
            nn.init.normal_(self.projection.weight, std=self.hidden**-0.5 * config.projection**-0.25)
            nn.init.zeros_(self.projection.bias)

    def encode(self, tokens: TokenBatch, offset: Tensor | None = None) -> Tensor:
        """Vectors, float32 ``[n, dimension]``; see :class:`Scorer`."""
        pooled = torch.cat([self._pool(block) for block in self.states(tokens, offset)])
        return tokens.by_caller(self._finish(pooled))

    def scores(self, queries: Tensor, passages: Tensor) -> Tensor:
        """Inner products."""
        return queries @ passages.T

    def pair_scores(self, queries: Tensor, passages: Tensor) -> Tensor:
        """Inner products."""
        return (queries * passages).sum(1)

    def host_scores(self) -> Scores:
        """Inner products need no model."""
        return INNER_PRODUCTS

    def row_shape(self, length: int) -> tuple[int, ...]:
        """That of a vector, whatever the text's length."""
        return (self.dimension,)

    def flops(self, work: Work) -> float:
        """With the projection, which sees each sequence."""
        projection = self.projection.weight.numel() if self.projection is not None else 0
        of_backbone = backbone_flops(self.backbone, work)
        return float(of_backbone + 2.0 * projection * work.sequences + work.other)

    def export(self, tokenizer: Any, lengths: tuple[int, int], folder: Path) -> None:
        """As a sentence-transformers folder: ``SentenceTransformer(folder)`` gives the same vectors.

        ``encode_query`` and ``encode_document`` keep as many tokens as ``lengths`` says, ``encode`` as many
        as of a passage.
        """
        save_folder(self.backbone, tokenizer, lengths, self.config.pooling, self._after_pooling(), folder)

    def _after_pooling(self) -> list[nn.Module]:
        """Modules of sentence-transformers."""
        from sentence_transformers.sentence_transformer.modules import Normalize

        modules: list[nn.Module] = []
        # The scale of the scores is part of the vectors; a linear layer is the module that can hold it.
        scale = self.config.temperature**-0.5
        cosine = self.config.similarity == "cosine"
        if self.projection is not None:
            factor = 1.0 if cosine else scale
            modules.append(dense(self.projection.weight * factor, self.projection.bias * factor))
        elif scale != 1.0 and not cosine:
            modules.append(dense(torch.eye(self.hidden) * scale, None))
        if cosine:
            modules.append(Normalize())
            if scale != 1.0:
                modules.append(dense(torch.eye(self.dimension) * scale, None))
        return modules

    def _pool(self, block: Block) -> Tensor:
        states, mask = block.values, block.mask
        if self.config.pooling == "cls":
            return states[:, 0].float()
        if mask is None:
            return states.float().mean(1)
        weights = mask.to(states.dtype)
        # The sum over tokens is a matrix product, which accumulates in fp32 whatever the type.
        summed = torch.bmm(weights[:, None], states)[:, 0].float()
        return summed / weights.sum(1, keepdim=True, dtype=torch.float32)

    def _finish(self, pooled: Tensor) -> Tensor:
        vectors = self.projection(pooled) if self.projection is not None else pooled
        if self.config.similarity == "cosine":
            vectors = F.normalize(vectors, dim=-1)
        scaled: Tensor = vectors * self.config.temperature**-0.5
        return scaled
