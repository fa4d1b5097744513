"""Model families, one file each; each registers itself (docs/extend.md)."""

from __future__ import annotations

from typing import Any

import torch

from retrieval.config import ModelConfig
from retrieval.config.model import FAMILIES
from retrieval.models.backbones import load_backbone, unloaded_backbone
from retrieval.models.scorer import Scorer


def build_scorer(config: ModelConfig, tokenizer: Any, seed: int, precision: str) -> Scorer:
    """The scorer of a run; ``seed`` fixes the random weights.

    ``tokenizer``: the fast tokenizer its inputs come from.

    Raises:
        ConfigError: There is no such family, or the pretrained checkpoint cannot be loaded.
    """
    chosen = FAMILIES[config.family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scorer: Scorer = chosen(load_backbone(config, tokenizer), config, precision)
    return scorer


def unloaded_scorer(folder: str, config: ModelConfig) -> Scorer:
    """The scorer of a checkpoint in a local folder without its weights: every parameter is on "meta".

    Raises:
        ConfigError: There is no such family, or ``config.json`` describes no model that can be built.
    """
    chosen = FAMILIES[config.family]
    with unloaded_backbone(folder) as backbone:
        scorer: Scorer = chosen(backbone, config)
    return scorer
