"""Floating-point operations of a scorer, counted from the texts that pass through it."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from retrieval.data.layout import Counted

FORWARD, BACKWARD, BACKWARD_TO_INPUTS = 1, 2, 1
"""Passes in units of a forward pass; a backward pass is one for the inputs and one for the weights (Kaplan
et al. 2020, §2.1)."""


@dataclass(frozen=True)
class Work:
    """Texts put through the scorer, in forward passes: a text encoded twice counts twice.

    ``tokens``: tokens of all sequences; ``attended``: sum of their squared lengths; ``sequences``: their
    number; ``other``: FLOPs spent outside the scorer.
    """

    tokens: float = 0.0
    attended: float = 0.0
    sequences: float = 0.0
    other: float = 0.0

    @classmethod
    def of(cls, counted: Counted, passes: int) -> Work:
        """Sequences put through the scorer ``passes`` times: a batch, or a step that processes share."""
        return cls(passes * counted.tokens, passes * counted.attended, passes * len(counted.sizes))

    def __add__(self, more: Work) -> Work:
        return Work(*(a + b for a, b in zip(astuple(self), astuple(more), strict=True)))

    def __mul__(self, times: float) -> Work:
        return Work(*(times * part for part in astuple(self)))


def backbone_flops(backbone: nn.Module, work: Work) -> float:
    """FLOPs of a backbone in ``work``, one multiply-add = 2; padding, biases, norms, activations not counted.

    Every linear layer sees each token (2·weights), attention adds 4·hidden multiply-adds a layer per
    (query, key) pair. The layers of ALBERT share their weights, and each counts.
    """
    config: Any = backbone.config
    shared = config.num_hidden_layers / getattr(config, "num_hidden_groups", config.num_hidden_layers)
    weights = sum(
        module.weight.numel() * (shared if "layer_groups" in name else 1)
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and "pooler" not in name
    )
    attention = 4.0 * config.hidden_size * config.num_hidden_layers * work.attended
    return float(2.0 * weights * work.tokens + attention)
