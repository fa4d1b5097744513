"""Model families, one file each; importing this package registers them all."""

from __future__ import annotations

from typing import Any

import torch

from retrieval.config import ModelConfig
from retrieval.errors import ConfigError
from retrieval.models.backbones import load_backbone, unloaded_backbone
from retrieval.models.families import dual_encoder
from retrieval.models.scorer import FAMILIES, Scorer

MODULES = (dual_encoder,)
"""In alphabetical order."""


def family(name: str) -> type[Scorer]:
    """The family of a value of ``model.family``.

    Raises:
        ConfigError: There is none.
    """
    if name not in FAMILIES:
        raise ConfigError(f"model.family={name} is not known; valid: {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name]


def build_scorer(config: ModelConfig, tokenizer: Any, seed: int, precision: str) -> Scorer:
    """The scorer of a run; ``seed`` fixes the random weights.

    ``tokenizer``: the fast tokenizer its inputs come from.

    Raises:
        ConfigError: There is no such family, or the pretrained checkpoint cannot be loaded.
    """
    chosen = family(config.family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return chosen(load_backbone(config, tokenizer), config, precision)


def unloaded_scorer(folder: str, config: ModelConfig) -> Scorer:
    """The scorer of a checkpoint in a local folder without its weights: every parameter is on "meta".

    Raises:
        ConfigError: There is no such family, or ``config.json`` describes no model that can be built.
    """
    chosen = family(config.family)
    with unloaded_backbone(folder) as backbone:
        return chosen(backbone, config)
