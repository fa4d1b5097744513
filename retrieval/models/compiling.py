"""``trainer.compile``: the position-wise operations of a layer through ``torch.compile``.

Attention is left out: its groups have other shapes in every batch, each of which would be compiled. So is
dropout, so that a run draws the same with and without. In bfloat16 on a CPU nothing is left: each half of a
layer is one operation there (:mod:`retrieval.models.branches`).
"""

from __future__ import annotations

from dataclasses import fields

import torch

from retrieval.errors import ConfigError, first_line
from retrieval.models.bert import PLAIN, Operations


def compiled_operations(device: torch.device, precision: str) -> Operations:
    """Compiled once a process, at their first use and again when the number of tokens first changes.

    Raises:
        ConfigError: there is nothing to compile, or PyTorch cannot compile here, without a compiler for C++
            for example.
    """
    if device.type == "cpu" and precision == "bf16":
        raise ConfigError(
            "trainer.compile=true: in bf16 on a CPU there is nothing to compile; set trainer.compile=false"
        )
    made = Operations(
        **{field.name: torch.compile(getattr(PLAIN, field.name)) for field in fields(Operations)}
    )
    x, pair = torch.zeros(4, 8, device=device), (torch.zeros(8, device=device),) * 2
    try:
        made.norm_of_sum(x, x, pair, 1e-5)
    except Exception as error:  # its back ends raise whatever they like
        raise ConfigError(
            f"trainer.compile=true: torch.compile fails here ({first_line(error)}); set trainer.compile=false"
        ) from error
    return made
