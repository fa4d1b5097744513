"""Model families, one file each; each registers itself (docs/extend.md)."""

import logging
from functools import cache
from typing import Any

import torch

from retrieval.config import ModelConfig
from retrieval.config.model import FAMILIES
from retrieval.models.backbones import load_backbone, unloaded_backbone
from retrieval.models.checkpoint import read_checkpoint
from retrieval.models.scorer import Scorer

log = logging.getLogger(__name__)


def build_scorer(config: ModelConfig, tokenizer: Any, seed: int, precision: str) -> Scorer:
    """The scorer of a run; ``seed`` fixes the random weights.

    ``tokenizer``: the fast tokenizer its inputs come from. A warning says what a checkpoint holds and the
    scorer cannot express.

    Raises:
        ConfigError: There is no such family, or the pretrained checkpoint cannot be loaded.
    """
    chosen = FAMILIES[config.family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scorer: Scorer = chosen(load_backbone(config, tokenizer, chosen.head), config, precision)
    if config.init == "pretrained":
        _adopt(scorer, str(config.pretrained))
    return scorer


def unloaded_scorer(folder: str, config: ModelConfig) -> Scorer:
    """The scorer of a checkpoint in a local folder with a backbone on "meta", without its weights.

    Raises:
        ConfigError: There is no such family, or ``config.json`` describes no model that can be built.
    """
    chosen = FAMILIES[config.family]
    with unloaded_backbone(read_checkpoint(folder).backbone, chosen.head) as backbone:
        scorer: Scorer = chosen(backbone, config)
    scorer.adopt(read_checkpoint(folder))
    return scorer


def _adopt(scorer: Scorer, source: str) -> None:
    left = scorer.adopt(read_checkpoint(source))
    if left:
        _say_once(f"model.pretrained={source}: not taken over: {', '.join(left)}")


@cache
def _say_once(line: str) -> None:
    log.warning("%s", line)
