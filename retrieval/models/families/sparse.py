"""``sparse``: a weight for each word of the vocabulary; scores are inner products of few active words.

``w_v = max over tokens of ln(1 + relu(logit_v))``, from the logits of a masked language model (SPLADE, Formal
et al. 2021, arXiv 2107.05720; the maximum is that of SPLADE v2, arXiv 2109.10086).
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval.config import ModelConfig
from retrieval.config.model import NO_ADAPTER
from retrieval.data.arrays import FloatArray
from retrieval.data.layout import Block, TokenBatch
from retrieval.errors import ConfigError
from retrieval.models import inputs
from retrieval.models.architecture import MASKED_WORDS
from retrieval.models.checkpoint import Checkpoint, read_settings
from retrieval.models.export import save_folder
from retrieval.models.flops import Work, backbone_flops
from retrieval.models.parameters import Groups
from retrieval.models.scorer import DTYPES, Scorer
from retrieval.models.scores import Scores
from retrieval.models.sparse_rows import MOST_WORDS, SparseScores, packed, unpacked
from retrieval.models.word_maxima import word_maxima

ACTIVATIONS = {"relu": 1, "log1p_relu": 2}
"""Activation of sentence-transformers' SpladePooling -> how often ``ln(1 + x)`` is taken."""

POOLING = "SpladePooling"

START = 4.0
"""Standard deviations of a logit that the initial biases from scratch are below zero."""


class Sparse(Scorer):
    """Maps token sequences to a weight, 0 or above, for each word of the tokenizer's vocabulary.

    Logits are those of all tokens, special ones among them, as SpladePooling takes them. They are matrix
    products in the type that ``precision`` names; what follows is fp32.
    """

    family = "sparse"
    kind = "SparseEncoder"
    head = MASKED_WORDS

    def __init__(self, backbone: nn.Module, config: ModelConfig, precision: str = "32") -> None:
        super().__init__(backbone, config, precision)
        found: Any = self.model.get_output_embeddings()  # type: ignore[operator]
        if not isinstance(found, nn.Linear) or len(found.weight) > MOST_WORDS:
            raise ConfigError(
                f"model.family=sparse: {type(self.model).__name__} has no linear layer that gives a logit to "
                f"each of at most {MOST_WORDS} words; choose another architecture or checkpoint"
            )
        self.words = len(found.weight)
        self.temperature = config.temperature or 1.0
        """Of the weights, so that inner products are scores."""
        self.activation = "relu"
        if config.init == "scratch":
            self._start(found)

    @classmethod
    def check(cls, model: ModelConfig) -> None:
        """See :class:`Scorer`; weights of a SparseEncoder cannot be multiplied by a number."""
        if model.adapter != NO_ADAPTER:
            raise ConfigError(
                f"model.adapter={model.adapter} is not known to model.family=sparse, whose head trains "
                f"with all weights; set model.adapter={NO_ADAPTER}"
            )
        if model.temperature not in (None, 1.0):
            raise ConfigError(
                f"model.temperature={model.temperature} cannot be exported with model.family=sparse, whose "
                "scores are those of a SparseEncoder; use 1 or null"
            )

    def adopt(self, checkpoint: Checkpoint) -> list[str]:
        """Take over the activation of a SparseEncoder; see :class:`Scorer`.

        Raises:
            ConfigError: Its vectors are made otherwise.
        """
        named = f"model.pretrained={checkpoint.source}: "
        for name, folder in checkpoint.listed:
            if name != POOLING:
                raise ConfigError(
                    f"{named}its module {name} is none of a sparse model over words; give a SparseEncoder of "
                    f"a masked language model and {POOLING}, or a masked language model"
                )
            settings = read_settings(checkpoint.source, f"{folder}/config.json")
            self.activation = str(settings.get("activation_function", "relu"))
            pooling = str(settings.get("pooling_strategy", "max"))
            if pooling != "max" or self.activation not in ACTIVATIONS:
                raise ConfigError(
                    f"{named}{POOLING} with {pooling} of {self.activation} cannot be trained; give a model "
                    f"with max of {' or '.join(ACTIVATIONS)}"
                )
        self._check_head(named)
        own = (f"module {POOLING}", f"the head of a {self.kind}")
        return [part for part in super().adopt(checkpoint) if part not in own]

    def encode(self, tokens: TokenBatch, offset: Tensor | None = None) -> Tensor:
        """Weights, float32[n, V]; see :class:`Scorer`."""
        decoder = self._decoder
        logits = word_maxima(self._head_states(tokens, offset), decoder.weight, tokens.sizes)
        weights = tokens.by_caller(logits if decoder.bias is None else logits + decoder.bias)
        # Increasing functions and a number that all tokens share may as well follow the maximum.
        weights = F.relu(weights)
        for _ in range(ACTIVATIONS[self.activation]):
            weights = torch.log1p(weights)
        return weights if self.temperature == 1 else weights * self.temperature**-0.5

    def scores(self, queries: Tensor, passages: Tensor) -> Tensor:
        """Inner products."""
        return queries @ passages.T

    def pair_scores(self, queries: Tensor, passages: Tensor) -> Tensor:
        """Inner products."""
        return (queries * passages).sum(1)

    def host_scores(self) -> Scores:
        """Products of sparse matrices."""
        return SparseScores(self.words)

    def row_shape(self, length: int) -> tuple[int, ...]:
        """Pairs of a word and its weight; how many is known only when texts are encoded."""
        return (0, 2)

    def to_host(self, rows: Tensor) -> FloatArray:
        """See :func:`retrieval.models.sparse_rows.packed`."""
        return packed(rows)

    def from_host(self, rows: FloatArray) -> Tensor:
        """Vectors again: float32[n, V]."""
        return unpacked(rows, self.words, self.word_table.device)

    def regularisation(self, queries: Tensor, passages: Tensor, progress: float) -> Tensor | None:
        """What keeps vectors sparse; its weight rises with the square of the progress.

        FLOPS is ``Σ_v (mean over texts of w_v)²`` (Paria et al. 2020, arXiv 2004.05665), L1 the mean over
        texts of ``Σ_v w_v``. The schedule is SPLADE's.
        """
        config = self.config
        if config.regulariser == "none":
            return None
        done = min(1.0, progress / config.regularisation_steps) if config.regularisation_steps else 1.0
        of_queries, of_passages = (self._regulariser(rows) for rows in (queries, passages))
        both = config.query_regularisation * of_queries + config.passage_regularisation * of_passages
        return both * done**2

    def groups(self) -> Groups:
        """A weight or bias for each word of the output is an embedding, as the table that it shares."""
        found = super().groups()
        of_words = {id(parameter) for parameter in self._decoder.parameters()}
        moved = {name for name, parameter in found.other.items() if id(parameter) in of_words}
        return found._replace(
            embedding={n: p for n, p in self.named_parameters() if n in found.embedding or n in moved},
            other={n: p for n, p in found.other.items() if n not in moved},
        )

    def flops(self, work: Work) -> float:
        """With the head, whose logits of every token are most of it in small models.

        A backward pass counts as that of all logits; gradients flow through few of them.
        """
        head = sum(layer.weight.numel() for layer in self._head_layers())
        return backbone_flops(self.backbone, work) + 2.0 * head * work.tokens + work.other

    def export(self, tokenizer: Any, lengths: tuple[int, int], folder: Path) -> None:
        """As a sentence-transformers folder: ``SparseEncoder(folder)`` gives the same vectors.

        ``encode_query`` and ``encode_document`` keep as many tokens as ``lengths`` says.
        """
        from sentence_transformers import SparseEncoder
        from sentence_transformers.sparse_encoder.modules import SpladePooling

        save_folder(
            self.model,
            tokenizer,
            lengths,
            [SpladePooling("max", self.activation)],
            self.prompts,
            folder,
            model=SparseEncoder,
            options={"transformer_task": "fill-mask"},
        )

    @property
    def _decoder(self) -> nn.Linear:
        """From the head's states to logits; its weight is the table of words, where they are tied."""
        found: nn.Linear = self.model.get_output_embeddings()  # type: ignore[operator]
        return found

    def _head_layers(self) -> list[nn.Linear]:
        """Linear layers behind the backbone, the one that gives logits among them."""
        own = {id(module) for module in self.backbone.modules()}
        behind = (module for module in self.model.modules() if id(module) not in own)
        return [module for module in behind if isinstance(module, nn.Linear)]

    def _head_states(self, tokens: TokenBatch, offset: Tensor | None) -> Tensor:
        """What logits are inner products of, ``[T, hidden]``, in the type of the matrix product."""
        dtype = DTYPES[self.precision]
        if not self.packed:
            return tokens.packed(self.states(tokens, offset)).to(dtype)
        states = self._packed_states(tokens, offset)
        with self._autocast(states.device):
            found: Tensor = self.model.cls.predictions.transform(states)  # type: ignore[union-attr, operator]
        return found.to(dtype)

    def _plain(self, words: nn.Module, ids: Block, offset: Block | None) -> Block:
        """One block through the whole model but for the logits."""
        given = inputs.of_block(ids, self.backbone.config)
        lowered = self._autocast(ids.values.device)
        with inputs.moved(words, offset), lowered, _skipped(self._decoder):
            states: Tensor = self.model(**given).logits
        whole = F.pad(states, (0, 0, 0, ids.values.shape[1] - ids.longest))
        return Block(whole, ids.mask, ids.longest)

    def _autocast(self, device: torch.device) -> Any:
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def _regulariser(self, rows: Tensor) -> Tensor:
        means = rows.mean(0)
        return means.square().sum() if self.config.regulariser == "flops" else means.sum()

    def _start(self, decoder: nn.Linear) -> None:
        """Initial weights of the head: a text has weights for its own words, and for few others.

        Logits of random states have a standard deviation σ of that of the table times the root of the
        width. The largest of 50 is above zero for nearly every word: 16,361 of 16,384 are active, and scores
        are sums of thousands. A bias of −4σ leaves some 20 by chance. The words of the text itself have the
        largest logits where nothing turns the states between the layers and the table: a square layer starts
        as the identity. What was measured: docs/logbook/2026-11-27-sparse.md.
        """
        with torch.no_grad():
            for layer in self._head_layers():
                if layer is not decoder and layer.in_features == layer.out_features:
                    nn.init.eye_(layer.weight)
            if decoder.bias is not None:
                spread = decoder.weight.std() * decoder.in_features**0.5
                decoder.bias.copy_((-START * spread).expand_as(decoder.bias))

    def _check_head(self, named: str) -> None:
        """Refuse an architecture whose logits are not those of its last linear layer.

        Raises:
            ConfigError: Says so, after ``named``.
        """
        ids = torch.arange(min(self.words, 4), device=self.word_table.device)[None]
        if ids.is_meta:
            return
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            expected = self.model(input_ids=ids).logits
            with _skipped(self._decoder):
                states = self.model(input_ids=ids).logits
            found = self._decoder(states)
        self.model.train(training)
        if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-4, atol=1e-4):
            raise ConfigError(
                f"{named}logits of {type(self.model).__name__} are not those of its last linear layer; give "
                "another checkpoint"
            )


@contextlib.contextmanager
def _skipped(layer: nn.Linear) -> Iterator[None]:
    """Within, a layer returns what it is given."""
    layer.forward = lambda states: states  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del layer.forward
