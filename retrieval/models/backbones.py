"""Backbones: the BERT size grid from scratch, and pretrained checkpoints from the hub or a folder."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

from retrieval.config import ModelConfig
from retrieval.errors import ConfigError, first_line
from retrieval.models.checkpoint import read_checkpoint, unreadable

CLASSIFICATION, MASKED_WORDS = "classification", "masked-words"
"""Heads on a backbone: one number for a text, or one for each word of the vocabulary at each token."""

_SCRATCH = {CLASSIFICATION: BertForSequenceClassification, MASKED_WORDS: BertForMaskedLM}
_PRETRAINED = {CLASSIFICATION: AutoModelForSequenceClassification, MASKED_WORDS: AutoModelForMaskedLM}


def load_backbone(config: ModelConfig, tokenizer: Any, head: str = "") -> nn.Module:
    """The backbone of a run, of random weights or a checkpoint's.

    ``tokenizer``: the fast tokenizer its inputs come from. With a ``head`` the whole model of transformers,
    whose ``base_model`` is the backbone.

    Raises:
        ConfigError: The pretrained checkpoint cannot be loaded, or has no such head.
    """
    if config.init == "scratch":
        return _scratch(config, tokenizer, head)
    return _pretrained(config, head)


def _scratch(config: ModelConfig, tokenizer: Any, head: str) -> nn.Module:
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
    if head == CLASSIFICATION:
        shape.num_labels = 1
    kinds: dict[str, Any] = _SCRATCH
    model = kinds[head](shape) if head else BertModel(shape, add_pooling_layer=False)
    _shrink_sublayers(cast(BertModel, model.base_model))
    return cast(nn.Module, model)


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


def _pretrained(config: ModelConfig, head: str) -> nn.Module:
    name = str(config.pretrained)
    try:
        model, report = _loaded(read_checkpoint(name).backbone, head)
    except Exception as error:  # libraries that read weights raise whatever their parsers do
        raise unreadable(name, error) from error
    _check_report(f"model.pretrained={name}", model, report, head)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = config.dropout
    if head:
        return cast(nn.Module, model)
    _drop_pooler(model)
    return _encoding(model)


def check_weights(source: str, named: str) -> None:
    """Load the transformer of a folder or hub id and see whether its weights are all there.

    Other libraries fill in random ones and go on. What cannot be loaded by itself is left to them.

    Raises:
        ConfigError: Weights are missing, or have other shapes than ``config.json`` says. ``named`` begins it.
    """
    try:
        model, report = _loaded(read_checkpoint(source).backbone)
    except Exception:  # begins with no transformer, or with one of another library
        return
    _check_report(named, model, report)


def _loaded(source: str, head: str = "") -> tuple[Any, dict[str, Any]]:
    shape = AutoConfig.from_pretrained(source, trust_remote_code=False)
    options: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32}
    if head == CLASSIFICATION:
        options["num_labels"] = 1
    found: tuple[Any, dict[str, Any]] = _architecture(shape, head).from_pretrained(
        source,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused by :func:`_check_report`, in words
        **options,
    )
    return found


def _check_report(named: str, model: Any, report: dict[str, Any], head: str = "") -> None:
    if report["mismatched_keys"]:
        key, found, wanted = min(report["mismatched_keys"])
        raise ConfigError(
            f"{named}: {key} has shape {list(found)} in its weights, {list(wanted)} by its config.json; "
            "give the config.json that belongs to the weights"
        )
    layers = {_numberless(name) for name, _ in model.named_parameters()}
    more = sorted(
        key for key in report["unexpected_keys"] if "#" in _numberless(key) and _numberless(key) in layers
    )
    if more:
        raise ConfigError(
            f"{named}: its weights have layers that its config.json does not know, such as {more[0]}; give "
            "the config.json that belongs to the weights"
        )
    missing = sorted(key for key in report["missing_keys"] if not _may_be_new(key, head, model))
    if missing:
        raise ConfigError(
            f"{named}: it lacks {len(missing)} weights of {type(model).__name__}, such as {missing[0]}; "
            "they would be random. Give a checkpoint of this architecture"
        )


def _may_be_new(key: str, head: str, model: Any) -> bool:
    """Whether a weight need not be in a checkpoint: an idle pooler, or a classifier that training learns."""
    return "pooler" in key or (head == CLASSIFICATION and not key.startswith(f"{model.base_model_prefix}."))


def _numberless(name: str) -> str:
    """A weight's name with ``#`` for each number of a layer."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "#", name)


def _architecture(shape: Any, head: str = "") -> Any:
    """The class of a checkpoint's backbone; of T5 and its kind the encoder alone."""
    if head:
        return _PRETRAINED[head]
    return AutoModelForTextEncoding if type(shape) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel


def _encoding(model: Any) -> nn.Module:
    """The encoder of an encoder-decoder that comes as a whole, such as BART."""
    encoder: nn.Module = model.get_encoder() if model.config.is_encoder_decoder else model
    return encoder


@contextlib.contextmanager
def unloaded_backbone(folder: str, head: str = "") -> Iterator[nn.Module]:
    """The backbone of a checkpoint in a local folder without its weights: on "meta", as what is built within.

    With a ``head`` as of :func:`load_backbone`.

    Raises :class:`ConfigError` when ``config.json`` describes no model that can be built.
    """
    try:
        shape = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            backbone = _architecture(shape, head).from_config(shape, trust_remote_code=False)
            if not head:
                _drop_pooler(backbone)
            yield backbone if head else _encoding(backbone)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model.pretrained={folder}: config.json describes no model that can be built"
            f" ({first_line(error)}). Give the folder of a checkpoint that transformers can load"
        ) from error


def _drop_pooler(model: Any) -> None:
    """Pooling is ours: an idle pooler is never used, and would count into N."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
