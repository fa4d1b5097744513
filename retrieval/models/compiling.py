"""``trainer.compile``: the position-wise operations of a layer through ``torch.compile``.

Attention is left out: its groups have other shapes in every batch, each of which would be compiled. So is
dropout, so that a run draws the same with and without.
"""

from __future__ import annotations

from dataclasses import fields

import torch

from retrieval.errors import ConfigError, first_line
from retrieval.models.bert import PLAIN, Operations


def compiled_operations(device: torch.device) -> Operations:
    """Compiled once a process, at their first use and again when the number of tokens first changes.

    Raises:
        ConfigError: PyTorch cannot compile here; a compiler for C++ is missing, for example.
    """
    made = Operations(
        **{field.name: torch.compile(getattr(PLAIN, field.name)) for field in fields(Operations)}
    )
    x, pair = torch.zeros(4, 8, device=device), (torch.zeros(8, device=device),) * 2
    try:
        made.sum_norm(x, x, pair, 1e-5)
    except Exception as error:  # its back ends raise whatever they like
        raise ConfigError(
            f"trainer.compile=true: torch.compile fails here ({first_line(error)}); set trainer.compile=false"
        ) from error
    return made
