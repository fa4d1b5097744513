"""``multi-vector``: a vector for each token, scored by MaxSim (docs/families.md)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.config import ModelConfig
from retrieval.config.model import TOKEN_DIMENSION, TOKEN_TEMPERATURE
from retrieval.data.arrays import FloatArray
from retrieval.data.layout import Block, TokenBatch
from retrieval.data.testset import IntArray
from retrieval.errors import ConfigError
from retrieval.models.checkpoint import Checkpoint
from retrieval.models.export import dense, save_folder, without_scale
from retrieval.models.flops import Work, backbone_flops
from retrieval.models.late_interaction import PUNCTUATION, LateInteraction, late_interaction_of, skipped_ids
from retrieval.models.maxsim import AS_PASSAGE, AS_QUERY, FLAGS, max_sim, paired_max_sim
from retrieval.models.scorer import Scorer
from retrieval.models.scores import IndexBytes, Scores, Statistics

PASSAGES_A_BLOCK = 1024
"""Passages whose rows host scores take at a time: 68 MB of 128 tokens each."""

TOKENS = "token_embeddings"
TINY = np.float32(1e-12)


class MultiVector(Scorer):
    """Maps each token to a vector of length 1, divided by the root of the temperature.

    A row is ``[L, d + 2]``: of each token the vector, whether it counts where the text is a query, and
    whether it does where it is a passage (punctuation may not). Padding is zero. Projection and scores are
    always fp32. Mask tokens of query expansion are tokens that the token store appends; they score as others
    do, and other tokens attend to them where the configuration says so.
    """

    family = "multi-vector"
    kind = "MultiVectorEncoder"

    def __init__(self, backbone: nn.Module, config: ModelConfig, precision: str = "32") -> None:
        super().__init__(backbone, config, precision)
        self.temperature = config.temperature or TOKEN_TEMPERATURE
        self.dimension = config.token_dimension or TOKEN_DIMENSION
        weight = torch.randn(self.dimension, self.hidden) * self.hidden**-0.5
        self.layers = nn.ModuleList([dense(weight, None, TOKENS)])
        """Modules of sentence-transformers between the states and the normalisation."""
        self.skiplist: tuple[str, ...] = () if config.skip_punctuation is False else PUNCTUATION
        self.skips_in_queries = False
        self.register_buffer("_skipped", torch.zeros(len(self.word_table), dtype=torch.bool), False)
        self._skipped: Tensor
        self._unseen: int | None = None
        """The token of query expansion, where nothing attends to it."""

    @classmethod
    def check(cls, model: ModelConfig) -> None:
        """See :class:`Scorer`; a key of query expansion needs it."""
        expands = model.query_expansion or (model.query_expansion is None and model.init == "pretrained")
        if model.attend_to_expansion is not None and not expands:
            raise ConfigError(
                f"model.attend_to_expansion={model.attend_to_expansion} would not be used without query "
                "expansion; add model.query_expansion=true, or drop it"
            )

    def adopt(self, checkpoint: Checkpoint) -> list[str]:
        """Take over layers, scale and skiplist of a MultiVectorEncoder; see :class:`Scorer`.

        From any other checkpoint the projection is new.
        """
        left = super().adopt(checkpoint)
        found = late_interaction_of(checkpoint.source)
        if found is None:
            return left + [f"module {name}" for name, _ in checkpoint.after]
        if self.config.token_dimension is None:
            self._adopt_layers(found)
        else:
            left = [*left, "Dense (model.token_dimension is set)"]
        if self.config.skip_punctuation is None:
            self.skiplist, self.skips_in_queries = found.skiplist, found.skips_in_queries
        return [reason for reason in left if reason not in found.read]

    def _adopt_layers(self, found: LateInteraction) -> None:
        modules, scale = without_scale(found.modules())
        self.layers = nn.ModuleList(modules)
        if self.config.temperature is None:
            self.temperature = scale**-2
        with torch.no_grad():
            self.dimension = self._projected(torch.zeros(1, self.hidden)).shape[-1]

    def know(self, tokenizer: Any) -> None:
        """Look up the tokens that do not count; see :class:`Scorer`."""
        ids = skipped_ids(self.skiplist, tokenizer)
        self._skipped[torch.tensor(ids, dtype=torch.long)] = True
        self._unseen = None if self._attends(self.config) else self.fill_of(self.config, tokenizer)

    @staticmethod
    def _attends(config: ModelConfig) -> bool:
        if config.attend_to_expansion is not None:
            return config.attend_to_expansion
        found = late_interaction_of(str(config.pretrained)) if config.init == "pretrained" else None
        return found is not None and found.attends()

    @classmethod
    def fill_of(cls, config: ModelConfig, tokenizer: Any) -> int | None:
        """The mask token of query expansion; see :class:`Scorer`.

        Raises:
            ConfigError: The tokenizer has no such token, or ends texts with it and none attends to it.
        """
        found = late_interaction_of(str(config.pretrained)) if config.init == "pretrained" else None
        wanted = config.query_expansion
        if wanted is None:
            wanted = found is not None and found.fills()
        if not wanted:
            return None
        named = found.expansion.get("token") if found is not None and found.expansion else None
        token = named or tokenizer.mask_token or tokenizer.eos_token
        if token is None:
            raise ConfigError(
                "model.query_expansion=true: the tokenizer has neither a mask token nor an end-of-text token "
                "that could fill queries up; set model.query_expansion=false"
            )
        fill = int(tokenizer.convert_tokens_to_ids(token))
        if tokenizer("")["input_ids"][-1:] == [fill] and not cls._attends(config):
            raise ConfigError(
                f"model.attend_to_expansion=false: the tokenizer ends each text with {token}, which would be "
                "taken for query expansion; set it to true, or model.query_expansion=false"
            )
        return fill

    def encode(self, tokens: TokenBatch, offset: Tensor | None = None) -> Tensor:
        """Token vectors, float32[n, longest, d + 2]; see :class:`Scorer`."""
        if self._unseen is not None:
            known = tokens.ids, tokens.real, tokens.positions
            tokens = replace(tokens, unseen=tokens.per_sequence(self._at_the_end, *known))
        width = int(tokens.sizes.max())
        parts = zip(self.states(tokens, offset), tokens.blocks(tokens.ids), strict=True)
        return tokens.by_caller(torch.cat([self._rows(states, ids, width) for states, ids in parts]))

    def _at_the_end(self, ids: Tensor, real: Tensor, positions: Tensor) -> Tensor:
        """Where a text ``[k, width]`` has nothing but the token of expansion any more: bool[k, width]."""
        # What everything attends to is never empty: the first token is always of the text.
        others = real & ((ids != self._unseen) | (positions == 0))
        return real & (others.flip(1).cumsum(1).flip(1) == 0)

    def _rows(self, states: Block, ids: Block, width: int) -> Tensor:
        longest = states.longest
        vectors = F.normalize(self._projected(states.values[:, :longest].float()), dim=-1)
        words = ids.values[:, :longest]
        real = torch.ones_like(words, dtype=torch.bool) if ids.mask is None else ids.mask[:, :longest]
        counted = real & ~self._skipped[words]
        flags = torch.stack([counted if self.skips_in_queries else real, counted], -1)
        scale = real[..., None] * self.temperature**-0.5
        rows = torch.cat([vectors * scale, flags.to(vectors.dtype)], -1)
        return F.pad(rows, (0, 0, 0, width - longest))

    def _projected(self, states: Tensor) -> Tensor:
        features = {TOKENS: states}
        for module in self.layers:
            features = module(features)
        return features[TOKENS]

    def scores(self, queries: Tensor, passages: Tensor) -> Tensor:
        """MaxSim."""
        return max_sim(queries, passages)

    def pair_scores(self, queries: Tensor, passages: Tensor) -> Tensor:
        """MaxSim."""
        return paired_max_sim(queries, passages)

    def host_scores(self) -> Scores:
        """MaxSim on the scorer's device, some passages at a time."""
        return HostMaxSim(self)

    def row_shape(self, length: int) -> tuple[int, ...]:
        """A vector a token, and two numbers more."""
        return (length, self.dimension + FLAGS)

    def flops(self, work: Work) -> float:
        """With the projection, which sees each token."""
        linear = (part for part in self.layers.modules() if isinstance(part, nn.Linear))
        projection = sum(part.weight.numel() for part in linear)
        return float(backbone_flops(self.backbone, work) + 2.0 * projection * work.tokens + work.other)

    def scoring_work(
        self, queries: NDArray[np.int64], passages: NDArray[np.int64], columns: IntArray | None = None
    ) -> Work:
        """Inner products of all pairs of tokens, ``2·d·Σ Lq·Σ Lp``; see :class:`Scorer`."""
        if columns is None:
            pairs = float(queries.sum()) * float(passages.sum())
        else:
            lengths = np.where(columns < 0, 0, passages[np.maximum(columns, 0)])
            pairs = float((queries * lengths.sum(1)).sum())
        return Work(other=2.0 * self.dimension * pairs)

    def export(self, tokenizer: Any, lengths: tuple[int, int], folder: Path) -> None:
        """As a folder of sentence-transformers: ``MultiVectorEncoder(folder)`` gives the same scores."""
        from sentence_transformers import MultiVectorEncoder
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
        from sentence_transformers.sentence_transformer.modules import Normalize

        modules: list[nn.Module] = [*self.layers, Normalize(TOKENS)]
        if self.temperature != 1.0:
            modules.append(dense(torch.eye(self.dimension) * self.temperature**-0.5, None, TOKENS))
        known = [word for word in self.skiplist if skipped_ids((word,), tokenizer)]
        tasks = ["query", "document"] if self.skips_in_queries else ["document"]
        modules.append(MultiVectorMask(known, skiplist_tasks=tasks))
        options: dict[str, Any] = {}
        fill = self.fill_of(self.config, tokenizer)
        if fill is not None:
            token = tokenizer.convert_ids_to_tokens(fill)
            attends = self._attends(self.config)
            expansion = {"strategy": "fixed", "attend": attends, "length": lengths[0], "token": token}
            options["query_expansion"] = expansion
        save_folder(
            self.backbone,
            tokenizer,
            lengths,
            modules,
            self.prompts,
            folder,
            model=MultiVectorEncoder,
            similarity="maxsim",
            options=options,
        )


def _counting(rows: FloatArray, side: int) -> IntArray:
    """Tokens of each text that count on a side, int64[n]."""
    counted: IntArray = (rows[..., side] > 0).sum(axis=1)
    return counted


class HostMaxSim(Scores):
    """MaxSim of rows ``[n, L, d + 2]`` in host memory, which may be memory-mapped."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.work = Work()

    def matrix(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """See :class:`Scores`."""
        self.work += self._scorer.scoring_work(_counting(queries, AS_QUERY), _counting(passages, AS_PASSAGE))
        found = np.empty((len(queries), len(passages)), np.float32)
        with torch.inference_mode():
            own = self._taken(queries)
            for start in range(0, len(passages), PASSAGES_A_BLOCK):
                span = slice(start, start + PASSAGES_A_BLOCK)
                found[:, span] = max_sim(own, self._taken(passages[span])).cpu().numpy()
        return found

    def pairs(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """See :class:`Scores`."""
        found = np.empty(len(passages), np.float32)
        with torch.inference_mode():
            for start in range(0, len(passages), PASSAGES_A_BLOCK):
                span = slice(start, start + PASSAGES_A_BLOCK)
                own, others = self._taken(queries[span]), self._taken(passages[span])
                found[span] = paired_max_sim(own, others).cpu().numpy()
        return found

    def statistics(self) -> Statistics:
        """The size of the index: vectors of tokens that count in a passage."""
        return IndexBytes(lambda rows: int((rows[..., AS_PASSAGE] > 0).sum()) * (rows.shape[-1] - FLAGS))

    def cosines(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """The mean of both directions of the mean cosine of each token with its most similar one: ``[n]``.

        That is recall and precision of BERTScore (Zhang et al. 2020, arXiv 1904.09675) with equal weights. A
        quotient of scores as of vectors may be above 1: MaxSim grows with the tokens of the text on its left.
        """
        there, back = self._mean_cosines(first, second), self._mean_cosines(second, first)
        alike: FloatArray = (there + back) * np.float32(0.5)
        return alike

    def _mean_cosines(self, first: FloatArray, second: FloatArray) -> FloatArray:
        own = first.copy()
        own[..., -2] = own[..., -1]  # what does not count in a passage finds nothing that is equal
        cosines = self.pairs(own, second)
        cosines /= np.maximum(self.pairs(own, own), TINY)
        return cosines

    def _taken(self, rows: FloatArray) -> Tensor:
        writable = np.require(rows, requirements="W")  # PyTorch takes no read-only memory
        return torch.from_numpy(writable).to(self._scorer.word_table.device)
