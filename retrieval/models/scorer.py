"""What a model family is: a scorer, which encodes texts and scores what it encoded."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import BertModel

from retrieval.config import ModelConfig
from retrieval.config.model import FAMILIES, NO_ADAPTER
from retrieval.data.arrays import FloatArray
from retrieval.data.batches import RankingBlock
from retrieval.data.layout import Block, TokenBatch
from retrieval.data.testset import IntArray
from retrieval.errors import ConfigError
from retrieval.models import bert, inputs
from retrieval.models.adapters import add_adapters, merge
from retrieval.models.checkpoint import Checkpoint, prompts_of
from retrieval.models.flops import BACKWARD, BACKWARD_TO_INPUTS, FORWARD, Work, backbone_flops
from retrieval.models.parameters import Groups, parameter_groups
from retrieval.models.scores import Scores, TensorScores

DTYPES: dict[str, torch.dtype] = {"32": torch.float32, "bf16": torch.bfloat16}


class Scorer(nn.Module, ABC):
    """Encodes each text to one row of a tensor, and scores rows of queries with rows of passages.

    What a row holds is the family's own business: a vector, a matrix of token vectors, token ids. Rows of a
    batch are a tensor ``[n, …]``. A second dimension that counts tokens may differ from batch to batch; where
    batches meet, rows are filled up with zeros, which :meth:`scores` takes for nothing. Parameters are fp32;
    ``precision`` names the type of the matrix products in the backbone.

    A subclass with a ``family`` is registered under that name.
    """

    family: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    """Class of sentence-transformers that reads what :meth:`export` writes; empty: none does."""
    head: ClassVar[str] = ""
    """What of transformers stands on the backbone, see :func:`retrieval.models.backbones.load_backbone`."""
    by_pair: ClassVar[bool] = False
    """Whether a score takes a forward pass of the pair, so that :meth:`scores` has parameters."""
    temperature: float
    """Scores are divided by it."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.family:
            FAMILIES.register(cls.family, cls)

    def __init__(self, backbone: nn.Module, config: ModelConfig, precision: str = "32") -> None:
        """``backbone``: what ``load_backbone`` gives for the family's :attr:`head`."""
        super().__init__()
        if self.head:
            self.model = backbone
            # A second registration would list every parameter twice in state_dict().
            self.__dict__["backbone"] = backbone = cast(Any, backbone).base_model
        else:
            self.backbone = backbone
        self.config = config
        self.precision = precision
        self.mini_batch_size: int | None = None
        """Texts encoded at a time while gradients are recorded; ``None``: all at once."""
        self.packed = bert.supports(backbone)
        self._weights: list[bert.LayerWeights] | None = None
        self.hidden = int(backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.gradient_checkpointing = False
        self.compiled = False
        """Whether training runs layers that PyTorch compiled: :meth:`compile_layers`."""
        self.prompts = prompts_of(config, None)
        """Text before each query and each passage; the tokens that are encoded have it already."""

    @classmethod
    def check(cls, model: ModelConfig) -> None:
        """Refuse a configuration that the family cannot train.

        Raises:
            ConfigError: Names the key, the value, the valid ones.
        """

    def adopt(self, checkpoint: Checkpoint) -> list[str]:
        """Take over what a checkpoint holds beside its backbone, and return in words what is left out.

        A family whose vectors are not those of sentence-transformers takes over the prompts alone.
        """
        self.prompts = prompts_of(self.config, checkpoint)
        return list(checkpoint.left)

    def know(self, tokenizer: Any) -> None:
        """Take what a family must know of the tokenizer that its inputs come from, after :meth:`adopt`."""

    @classmethod
    def fill_of(cls, config: ModelConfig, tokenizer: Any) -> int | None:
        """The token that fills queries up to ``data.max_query_length``; ``None``: they are as they are."""
        return None

    @abstractmethod
    def encode(self, tokens: TokenBatch, offset: Tensor | None = None) -> Tensor:
        """Rows of the sequences in the caller's order, ``[n, …]``.

        ``offset``: float32[T, hidden] added to the word embeddings (adversarial perturbation).
        """

    @abstractmethod
    def scores(self, queries: Tensor, passages: Tensor) -> Tensor:
        """Scores of queries ``[n, …]`` with passages ``[m, …]``, temperature included: float32[n, m]."""

    def pair_scores(self, queries: Tensor, passages: Tensor) -> Tensor:
        """Scores of each query ``[n, …]`` with the passage beside it ``[n, …]``: float32[n]."""
        rows = [slice(row, row + 1) for row in range(len(queries))]
        return torch.cat([self.scores(queries[row], passages[row])[0] for row in rows])

    def columns(self, block: RankingBlock) -> IntArray | None:
        """Which passages of a block training scores each query with: int64[n, k], the positive first.

        −1 is no passage. ``None``: all passages of the block, as far as they are not excluded.
        """
        return None

    def listed_scores(self, queries: Tensor, passages: Tensor, columns: IntArray) -> Tensor:
        """Scores of each query with the passages at its row of ``columns``, int64[n, k]: float32[n, k].

        A column of −1 is none, and scored −inf.
        """
        places = torch.from_numpy(columns).to(queries.device)
        scores = self.scores(queries, passages).gather(1, places.clamp_min(0))
        return scores.masked_fill(places < 0, float("-inf"))

    @abstractmethod
    def row_shape(self, length: int) -> tuple[int, ...]:
        """Shape of the row of a text of at most ``length`` tokens, in host memory.

        A first number of 0 says that it is known only when texts are encoded.
        """

    def to_host(self, rows: Tensor) -> FloatArray:
        """Rows ``[n, …]`` of :meth:`encode` as they are kept in host memory: float32[n, …].

        A second dimension may differ from batch to batch; zeros fill it up.
        """
        found: FloatArray = rows.cpu().numpy()
        return found

    def from_host(self, rows: FloatArray) -> Tensor:
        """Rows as :meth:`to_host` made them, as :meth:`encode` gives them, on the scorer's device."""
        return torch.tensor(rows, device=self.word_table.device)

    def regularisation(self, queries: Tensor, passages: Tensor, progress: float) -> Tensor | None:
        """What training adds to the ranking loss of rows ``[n, …]`` and ``[m, …]``: 0-d; ``None``: nothing.

        ``progress``: share of the training steps that are done.
        """
        return None

    def encoding_work(self, sizes: NDArray[np.int64]) -> Work:
        """A forward pass of :meth:`encode` over texts of ``sizes`` tokens, int64[n]."""
        return Work(float(sizes.sum()), float(np.square(sizes.astype(np.float64)).sum()), len(sizes))

    def scoring_work(
        self, queries: NDArray[np.int64], passages: NDArray[np.int64], columns: IntArray | None = None
    ) -> Work:
        """What it takes to score queries of int64[n] tokens with passages of int64[m] tokens.

        ``columns``: int64[n, k], the passages that each query is scored with; ``None``: all. Inner products
        of single vectors are not counted.
        """
        return Work()

    @abstractmethod
    def export(self, tokenizer: Any, lengths: tuple[int, int], folder: Path) -> None:
        """Write ``folder``, for use without this project. ``lengths``: tokens of a query and of a passage."""

    def host_scores(self) -> Scores:
        """Scores of rows in host memory."""
        return TensorScores(self.scores, self.pair_scores, self.from_host)

    def flops(self, work: Work) -> float:
        """FLOPs of ``work``, one multiply-add = 2; padding, biases, norms and activations not counted."""
        return backbone_flops(self.backbone, work) + work.other

    def groups(self) -> Groups:
        """Its parameters: embeddings, and all others, which are counted into N."""
        return parameter_groups(self, self.backbone)

    @property
    def word_table(self) -> Tensor:
        """Word embeddings ``[V, hidden]`` as the layers get them."""
        words: Any = self.backbone.get_input_embeddings()  # type: ignore[operator]
        table: Tensor = words.weight
        scale = getattr(words, "embed_scale", None)  # Gemma's table is multiplied as it is read
        return table if scale is None else table * scale

    def forward(self, tokens: TokenBatch, offset: Tensor | None = None) -> Tensor:
        """What :meth:`encode` gives; with :attr:`mini_batch_size`, some texts at a time."""
        if self.mini_batch_size is not None and torch.is_grad_enabled():
            return self._in_chunks(tokens, offset)
        return self.encode(tokens, offset)

    def states(self, tokens: TokenBatch, offset: Tensor | None = None) -> list[Block]:
        """Last hidden states of the backbone, ``[k, width, hidden]`` a block, in layout order."""
        if self.packed:
            return tokens.blocks(self._packed_states(tokens, offset))
        words, ids = self.backbone.get_input_embeddings(), tokens.blocks(tokens.ids)  # type: ignore[operator]
        offsets = [None] * len(ids) if offset is None else tokens.blocks(offset)
        return [self._plain(words, *of_block) for of_block in zip(ids, offsets, strict=True)]

    def _packed_states(self, tokens: TokenBatch, offset: Tensor | None) -> Tensor:
        """Last hidden states by token, ``[T, hidden]`` in the type of the matrix products."""
        dtype = DTYPES[self.precision]
        return bert.forward(self._bert, tokens, dtype, offset, self._weights, self.compiled)

    def _plain(self, words: nn.Module, ids: Block, offset: Block | None) -> Block:
        """One block through the backbone's own forward: the path of every other architecture than BERT."""
        given = inputs.of_block(ids, self.backbone.config)
        enabled = self.precision == "bf16"
        autocast = torch.autocast(ids.values.device.type, dtype=torch.bfloat16, enabled=enabled)
        with inputs.moved(words, offset), autocast:
            states: Tensor = self.backbone(**given).last_hidden_state
        whole = F.pad(states, (0, 0, 0, ids.values.shape[1] - ids.longest))
        return Block(whole, ids.mask, ids.longest)

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

    def _encode_chunk(self, chunk: TokenBatch, offset: Tensor | None, _: Tensor) -> Tensor:
        """:meth:`encode`; a tensor among the arguments says which device's generator is to be replayed."""
        return self.encode(chunk, offset)

    @property
    def _bert(self) -> BertModel:
        return cast(BertModel, self.backbone)

    @property
    def backward_cost(self) -> int:
        """Cost of a backward pass in forward passes, with what of the forward pass it repeats.

        Frozen weights need no gradient; those of adapters are too few to count.
        """
        adapted = self.config.adapter != NO_ADAPTER
        again = (self.mini_batch_size is not None) + self.gradient_checkpointing
        return (BACKWARD_TO_INPUTS if adapted else BACKWARD) + again * FORWARD

    def checkpoint_gradients(self) -> None:
        """Keep the input of each layer alone in training; the backward pass computes the rest again.

        Raises:
            ConfigError: The backbone cannot do it.
        """
        try:
            options = {"use_reentrant": False}  # under the name that transformers 4 knows, too
            self.backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)  # type: ignore[operator]
        except ValueError as error:
            raise ConfigError(
                f"train.gradient_checkpointing=true: {type(self.backbone).__name__} cannot do it; set it to "
                "false, or set train.mini_batch_size to save memory"
            ) from error
        # Transformers marks the embeddings for the older way of checkpointing, which inference does not do.
        self.backbone.disable_input_require_grads()  # type: ignore[operator]
        self.packed, self.gradient_checkpointing = False, True

    def compile_layers(self, device: torch.device) -> None:
        """Train by layers that ``torch.compile`` makes of those of a packed BERT; encoding stays as it is.

        Raises:
            ConfigError: There is nothing that would be compiled.
        """
        if self.gradient_checkpointing:
            raise ConfigError(
                "trainer.compile=true compiles layers that keep what they compute, and "
                "train.gradient_checkpointing=true keeps none of it; set one of them to false"
            )
        if not (self.packed and device.type == "cuda" and self.precision == "bf16"):
            raise ConfigError(
                "trainer.compile=true compiles the layers of BERT in bf16 on an NVIDIA GPU, and this is a "
                f"{type(self.backbone).__name__} in train.precision={self.precision} on {device.type}; "
                "set it to false"
            )
        self.compiled = True

    def use_adapters(self) -> None:
        """Freeze the backbone and train adapters beside it, as the configuration says."""
        add_adapters(self.backbone, self.config.lora)
        self.packed = bert.supports(self.backbone)

    def settle(self) -> None:
        """Add adapters to the weights where the export is to have them so, or has no place for them."""
        if self.config.adapter != NO_ADAPTER and (self.config.lora.merge or self.head):
            merge(self.backbone)

    def _in_chunks(self, tokens: TokenBatch, offset: Tensor | None) -> Tensor:
        """Gradient caching (Gao et al. 2021, arXiv 2101.06983): activations of one chunk at a time.

        The forward pass keeps the rows alone; the backward pass encodes each chunk again, with the same
        dropout, when the gradient of its rows is known. Gradients are those of the whole batch, up to
        rounding.
        """
        assert self.mini_batch_size is not None
        rows = [
            checkpoint(
                self._encode_chunk, chunk, _part(offset, span, len(chunk.ids)), chunk.ids, use_reentrant=False
            )
            for chunk, span in tokens.chunks(self.mini_batch_size)
        ]
        return tokens.by_caller(stacked(rows))


def stacked(parts: list[Tensor]) -> Tensor:
    """Rows of several batches as those of one, filled up to the most tokens."""
    width = max((part.shape[1] for part in parts if part.ndim > 1), default=0)
    return torch.cat([widened(part, width) for part in parts])


def widened(rows: Tensor, width: int) -> Tensor:
    """``rows`` with the second dimension, if any, filled up to ``width`` with zeros."""
    if rows.ndim < 2 or rows.shape[1] == width:
        return rows
    return F.pad(rows, (0, 0) * (rows.ndim - 2) + (0, width - rows.shape[1]))


def _part(offset: Tensor | None, span: slice, length: int) -> Tensor | None:
    """Rows of a chunk, with zeros for its blank tokens."""
    if offset is None:
        return None
    rows = offset[span]
    return F.pad(rows, (0, 0, 0, length - len(rows)))
