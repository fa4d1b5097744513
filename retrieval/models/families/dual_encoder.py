"""``dual-encoder``: one vector a text, from one backbone for both sides; scores are inner products."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.config import ModelConfig
from retrieval.config.model import TEMPERATURE, vectors_of
from retrieval.data.layout import TokenBatch
from retrieval.errors import ConfigError
from retrieval.models.checkpoint import Checkpoint
from retrieval.models.export import dense, pooling_module, save_folder, without_scale
from retrieval.models.flops import Work, backbone_flops
from retrieval.models.pooling import pooled
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
        chosen = vectors_of(config)
        self.pooling: tuple[str, ...] = (chosen.pooling or "mean",)
        self.cosine = chosen.similarity != "dot"
        self.temperature = chosen.temperature or TEMPERATURE
        size = chosen.projection
        self.projection = nn.Linear(self.hidden, size) if size else None
        self.after = nn.ModuleList()
        """Modules of the checkpoint between pooling and similarity."""
        self.dimension = size or self.hidden
        if self.projection is not None:
            # Inner products of unrelated texts start with a standard deviation of about one.
            nn.init.normal_(self.projection.weight, std=self.hidden**-0.5 * self.dimension**-0.25)
            nn.init.zeros_(self.projection.bias)

    def adopt(self, checkpoint: Checkpoint) -> list[str]:
        """Take over pooling, layers, similarity that the configuration leaves open; see :class:`Scorer`."""
        chosen, left = vectors_of(self.config), super().adopt(checkpoint)
        scale = 1.0
        if chosen.pooling is None:
            self.pooling = checkpoint.pooling
        if chosen.projection is None:
            modules, scale = without_scale(checkpoint.modules())
            self.after = nn.ModuleList(modules)
        else:
            left += [f"module {name} (model.projection is set)" for name, _ in checkpoint.after]
        if chosen.similarity is None:
            if checkpoint.similarity not in (None, "dot", "cosine"):
                raise ConfigError(
                    f"model.pretrained={checkpoint.source}: similarity {checkpoint.similarity!r} is no inner "
                    "product; set model.similarity=cosine or dot"
                )
            self.cosine = checkpoint.similarity != "dot"
            if chosen.temperature is None and not self.cosine:
                self.temperature = 1.0  # the scale of its scores is in its vectors
        if not self.cosine:
            self.temperature /= scale**2
        if self.projection is None:
            with torch.no_grad():
                self.dimension = self._mapped(torch.zeros(1, self.hidden * len(self.pooling))).shape[1]
        elif len(self.pooling) > 1:
            raise ConfigError(
                f"model.pretrained={checkpoint.source}: its pooling {'+'.join(self.pooling)} is wider than "
                "model.projection takes; set model.pooling, or leave model.projection out"
            )
        return left

    def encode(self, tokens: TokenBatch, offset: Tensor | None = None) -> Tensor:
        """Vectors, float32[n, dimension]; see :class:`Scorer`."""
        vectors = torch.cat([pooled(self.pooling, block) for block in self.states(tokens, offset)])
        return tokens.by_caller(self._finish(vectors))

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
        linear = (part for part in (self.projection, *self.after.modules()) if isinstance(part, nn.Linear))
        projection = sum(part.weight.numel() for part in linear)
        of_backbone = backbone_flops(self.backbone, work)
        return float(of_backbone + 2.0 * projection * work.sequences + work.other)

    def export(self, tokenizer: Any, lengths: tuple[int, int], folder: Path) -> None:
        """As a sentence-transformers folder: ``SentenceTransformer(folder)`` gives the same vectors.

        ``encode_query`` and ``encode_document`` keep as many tokens as ``lengths`` says, ``encode`` as many
        as of a passage.
        """
        modules = [pooling_module(self.hidden, self.pooling), *self._after_pooling()]
        save_folder(self.backbone, tokenizer, lengths, modules, self.prompts, folder)

    def _after_pooling(self) -> list[nn.Module]:
        from sentence_transformers.sentence_transformer.modules import Normalize

        modules: list[nn.Module] = [*self.after]
        # The scale of the scores is part of the vectors; a linear layer is the module that can hold it.
        scale = self.temperature**-0.5
        cosine = self.cosine
        if self.projection is not None:
            factor = 1.0 if cosine else scale
            modules.append(dense(self.projection.weight * factor, self.projection.bias * factor))
        elif scale != 1.0 and not cosine:
            modules.append(dense(torch.eye(self.dimension) * scale, None))
        if cosine:
            modules.append(Normalize())
            if scale != 1.0:
                modules.append(dense(torch.eye(self.dimension) * scale, None))
        return modules

    def _mapped(self, vectors: Tensor) -> Tensor:
        """Vectors after the checkpoint's own modules."""
        features = {"sentence_embedding": vectors}
        for module in self.after:
            features = module(features)
        return features["sentence_embedding"]

    def _finish(self, vectors: Tensor) -> Tensor:
        vectors = self.projection(vectors) if self.projection is not None else self._mapped(vectors)
        if self.cosine:
            vectors = F.normalize(vectors, dim=-1)
        scaled: Tensor = vectors * self.temperature**-0.5
        return scaled
