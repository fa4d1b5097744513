"""What an architecture is: the shape and the initial weights of a backbone that is made from scratch."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from retrieval.config import ModelConfig
from retrieval.config.model import ARCHITECTURES
from retrieval.config.registry import Registered
from retrieval.errors import ConfigError

CLASSIFICATION, MASKED_WORDS = "classification", "masked-words"
"""Heads on a backbone: one number for a text, or one for each word of the vocabulary at each token."""

POSITIONS = 512
"""Rows of a learned table of positions that texts can use."""


class Architecture(Registered, ABC, registry=ARCHITECTURES):
    """Makes backbones of ``model.layers``, ``model.hidden``, ``model.heads`` and ``model.intermediate``.

    A subclass with a ``name`` is registered under it. Modules import transformers within functions, because
    the registry is read before a configuration is accepted.
    """

    name: ClassVar[str]
    causal: ClassVar[bool] = False
    """Whether a token sees those before it alone, so that the last token is the vector of its text."""
    rotary: ClassVar[bool] = False
    """Whether positions are rotations, which pair the numbers of a head."""
    heads: ClassVar[tuple[str, ...]] = (CLASSIFICATION, MASKED_WORDS)
    """Heads that transformers puts on it."""
    residual_outputs: ClassVar[tuple[str, ...]] = ()
    """Endings of the weights that end a sublayer, where layers are normalised after the sum."""

    @classmethod
    def check(cls, model: ModelConfig) -> None:
        """Refuse a shape that cannot be built.

        Raises:
            ConfigError: Names the values, the valid ones and the fix.
        """
        heads = head_count(model)
        if model.hidden % heads:
            valid = ", ".join(str(n) for n in range(1, model.hidden + 1) if model.hidden % n == 0)
            raise ConfigError(
                f"model.hidden={model.hidden} does not divide into {heads} attention heads; "
                f"use a multiple of 64, or one of model.heads={valid}"
            )
        if cls.rotary and model.hidden // heads % 2:
            raise ConfigError(
                f"model.architecture={cls.name} rotates pairs of numbers, and model.hidden={model.hidden} "
                f"gives each of {heads} attention heads {model.hidden // heads}; choose an even number a head"
            )

    @classmethod
    def shape(cls, model: ModelConfig, tokenizer: Any, head: str = "") -> Any:
        """The configuration of transformers.

        ``tokenizer``: gives the number of words and the ids of special tokens; ``head``: what stands on it.

        Raises:
            ConfigError: The architecture has no such head.
        """
        if head and head not in cls.heads:
            with_it = ", ".join(name for name, each in ARCHITECTURES.items() if head in each.heads)
            raise ConfigError(
                f"model.architecture={cls.name} has no head for {head}, which model.family={model.family} "
                f"needs; architectures that have one: {with_it}"
            )
        shape = cls.described(model, tokenizer)
        if head == CLASSIFICATION:
            shape.num_labels = 1
        return shape

    @classmethod
    @abstractmethod
    def described(cls, model: ModelConfig, tokenizer: Any) -> Any:
        """:meth:`shape` without a head."""

    @classmethod
    @abstractmethod
    def bare(cls, shape: Any) -> Any:
        """A backbone of this shape, with random weights from PyTorch's generator."""


def shrink(backbone: Any, endings: tuple[str, ...]) -> None:
    """Divide the initial output weights of attention and feed-forward by the root of their number.

    As in GPT-2 (Radford et al. 2019, §2.3): every layer starts near the identity. Without it BERT's layers,
    normalised after the sum, map all texts to one direction when there are twelve of them, and short training
    never leaves the chance level.
    """
    import torch

    share = (2 * backbone.config.num_hidden_layers) ** -0.5
    with torch.no_grad():
        for name, weight in backbone.named_parameters():
            if name.endswith(endings):
                weight.mul_(share)


def head_count(model: ModelConfig) -> int:
    """Attention heads of a configuration."""
    return model.heads or max(1, model.hidden // 64)


def width_of(model: ModelConfig) -> int:
    """Width of the feed-forward layer of a configuration."""
    return model.intermediate or 4 * model.hidden


def named_shape(model: ModelConfig, tokenizer: Any) -> dict[str, Any]:
    """The shape by the names that most configurations of transformers have."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": model.hidden,
        "num_hidden_layers": model.layers,
        "num_attention_heads": head_count(model),
        "intermediate_size": width_of(model),
        "pad_token_id": tokenizer.pad_token_id,
    }


def decoder_shape(model: ModelConfig, tokenizer: Any) -> dict[str, Any]:
    """The shape of a causal decoder: every head has keys and values of its own.

    Dropout acts on the weights of attention, the one place where these architectures have it.
    """
    return named_shape(model, tokenizer) | {
        "num_key_value_heads": head_count(model),
        "head_dim": model.hidden // head_count(model),
        "attention_dropout": model.dropout,
        "max_position_embeddings": POSITIONS,
        "bos_token_id": None,
        "eos_token_id": None,
        "use_cache": False,
    }
