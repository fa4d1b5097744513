"""Model families, one file each; each registers itself (docs/extend.md)."""

import copy
import logging
from functools import cache
from typing import Any

import torch

from retrieval.config import ModelConfig
from retrieval.config.model import FAMILIES, NO_ADAPTER, WHOLE
from retrieval.models.adapters import load_trained, trained_state
from retrieval.models.backbones import load_backbone, unloaded_backbone
from retrieval.models.checkpoint import checkpoint_of
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
        if config.adapter != NO_ADAPTER:
            scorer.use_adapters()
    checkpoint = checkpoint_of(config)
    if checkpoint is not None:
        left = scorer.adopt(checkpoint)
        if left:
            _say_once(f"model.pretrained={checkpoint.source}: not taken over: {', '.join(left)}")
    scorer.know(tokenizer)
    if config.load_in != WHOLE:
        scorer.to(scorer.word_table.device)  # quantised weights are made where they will be used
    return scorer


def in_whole(scorer: Scorer, tokenizer: Any, seed: int) -> Scorer:
    """A scorer whose weights are not quantised: itself, or the checkpoint loaded again with what was trained.

    ``tokenizer`` and ``seed``: those that :func:`build_scorer` made it with.
    """
    if scorer.config.load_in == WHOLE:
        return scorer
    config = copy.deepcopy(scorer.config)
    config.load_in = WHOLE
    whole = build_scorer(config, tokenizer, seed, scorer.precision)
    load_trained(whole, {name: value.cpu() for name, value in trained_state(scorer).items()})
    return whole


def unloaded_scorer(config: ModelConfig, words: int) -> Scorer:
    """The scorer of a run without its weights: its backbone is on "meta".

    ``words``: those of the tokenizer, where the backbone is made from scratch; a pretrained one must be in a
    local folder.

    Raises:
        ConfigError: There is no such family, or ``config.json`` describes no model that can be built.
    """
    chosen = FAMILIES[config.family]
    with unloaded_backbone(config, words, chosen.head) as backbone:
        scorer: Scorer = chosen(backbone, config)
        if config.adapter != NO_ADAPTER:
            scorer.use_adapters()
    checkpoint = checkpoint_of(config)
    if checkpoint is not None:
        scorer.adopt(checkpoint)
    return scorer


@cache
def _say_once(line: str) -> None:
    log.warning("%s", line)
