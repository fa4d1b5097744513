"""Backbones: the BERT size grid from scratch, and pretrained checkpoints from the hub or a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

from retrieval.config import ModelConfig
from retrieval.errors import ConfigError, first_line


def load_backbone(config: ModelConfig, tokenizer: Any) -> nn.Module:
    """The backbone of a run, of random weights or a checkpoint's.

    ``tokenizer``: the fast tokenizer its inputs come from. Raises :class:`ConfigError` when the
    pretrained checkpoint cannot be loaded.
    """
    return _scratch(config, tokenizer) if config.init == "scratch" else _pretrained(config)


def _scratch(config: ModelConfig, tokenizer: Any) -> nn.Module:
    shape = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads or max(1, config.hidden // 64),
        intermediate_size=config.intermediate or 4 * config.hidden,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = BertModel(shape, add_pooling_layer=False)
    _shrink_sublayers(model)
    return model


def _shrink_sublayers(model: BertModel) -> None:
    """Divide the initial output weights of attention and feed-forward by the root of their number.

    As in GPT-2 (Radford et al. 2019, §2.3): every layer starts near the identity. Without it BERT's layers,
    normalised after the sum, map all texts to one direction when there are twelve of them, and short training
    never leaves the chance level.
    """
    share = (2 * model.config.num_hidden_layers) ** -0.5
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("output.dense.weight"):
                weight.mul_(share)


def _pretrained(config: ModelConfig) -> nn.Module:
    name = config.pretrained or ""
    try:
        options: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32}
        model = AutoModel.from_pretrained(_backbone_source(name), trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model.pretrained={name}: cannot load this checkpoint ({first_line(error)}). Give a folder with"
            " config.json and model.safetensors, or a hub id that is cached or reachable"
        ) from error
    _drop_pooler(model)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = config.dropout
    return model  # type: ignore[no-any-return]


@contextlib.contextmanager
def unloaded_backbone(folder: str) -> Iterator[nn.Module]:
    """The backbone of a checkpoint in a local folder without its weights: on "meta", as what is built within.

    Raises :class:`ConfigError` when ``config.json`` describes no model that can be built.
    """
    try:
        shape = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            backbone = AutoModel.from_config(shape, trust_remote_code=False)  # type: ignore[no-untyped-call]
            _drop_pooler(backbone)
            yield backbone
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model.pretrained={folder}: config.json describes no model that can be built"
            f" ({first_line(error)}). Give the folder of a checkpoint that transformers can load"
        ) from error


def _drop_pooler(model: Any) -> None:
    """Pooling is ours: an idle pooler is never used, and would count into N."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None


def _backbone_source(name: str) -> str:
    """A sentence-transformers folder keeps its transformer at the top or in a module folder."""
    folder = Path(name)
    for candidate in (folder, folder / "0_Transformer"):
        if (candidate / "config.json").is_file():
            return str(candidate)
    return name
