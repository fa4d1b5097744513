"""Backbones: architectures of any size from scratch, and pretrained checkpoints from the hub or a folder."""

import contextlib
import os
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
)
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

from retrieval.config import ModelConfig
from retrieval.config.model import ARCHITECTURES, EIGHT_BIT, PLAIN_BERTS, WHOLE
from retrieval.errors import ConfigError, first_line
from retrieval.models.adapters import adapted_layers, merge
from retrieval.models.architecture import CLASSIFICATION, MASKED_WORDS, Architecture, shrink
from retrieval.models.checkpoint import base_of, read_checkpoint, read_settings, unreadable

os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
"""Else transformers has files converted by a service, and takes what was proposed to a page, not merged."""

_HEADED: dict[str, Any] = {
    CLASSIFICATION: AutoModelForSequenceClassification,
    MASKED_WORDS: AutoModelForMaskedLM,
}


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
    architecture: type[Architecture] = ARCHITECTURES[config.architecture]
    shape = architecture.shape(config, tokenizer, head)
    model = _HEADED[head].from_config(shape) if head else architecture.bare(shape)
    shrink(model.base_model, architecture.residual_outputs)
    return cast(nn.Module, model)


def _pretrained(config: ModelConfig, head: str) -> nn.Module:
    name = str(config.pretrained)
    if head == CLASSIFICATION:
        _check_labels(name)
    try:
        model, report = _loaded(read_checkpoint(name).backbone, head, config.load_in)
    except Exception as error:  # libraries that read weights raise whatever their parsers do
        raise unreadable(name, error) from error
    _check_report(f"model.pretrained={name}", model, report, head)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = config.dropout
    if head:
        return cast(nn.Module, model)
    _drop_pooler(model)
    return check_reads_tokens(_encoding(model), name)


def check_reads_tokens(backbone: nn.Module, name: str) -> nn.Module:
    """The backbone, once it is known to be one of texts.

    Raises:
        ConfigError: It has no table of words, as models of images have none, or no one width.
    """
    try:
        words: Any = backbone.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        words = None
    if not isinstance(words, nn.Embedding) or not hasattr(backbone.config, "hidden_size"):
        raise ConfigError(
            f"model.pretrained={name}: a {type(backbone).__name__} does not encode texts; give a text model"
        )
    return backbone


def _check_labels(source: str) -> None:
    """Refuse a classifier of several labels: none of them is the score of a pair."""
    settings = read_settings(source, "config.json")
    kinds = settings.get("architectures") or []
    labels = len(settings.get("id2label") or {}) or int(settings.get("num_labels") or 2)
    if labels != 1 and any(str(kind).endswith("ForSequenceClassification") for kind in kinds):
        raise ConfigError(
            f"{source}: its classifier has {labels} labels, and none of them is the score of a pair; give a "
            "cross-encoder with one label, or a checkpoint without a classifier"
        )


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


def _loaded(source: str, head: str = "", load_in: str = WHOLE) -> tuple[Any, dict[str, Any]]:
    shape = AutoConfig.from_pretrained(base_of(source), trust_remote_code=False)
    # Most of Google's small BERTs are published as pytorch_model.bin alone, of which only tensors are read.
    options: dict[str, Any] = {"use_safetensors": source not in PLAIN_BERTS or None, "dtype": torch.float32}
    if head == CLASSIFICATION:
        options["num_labels"] = 1
    if load_in == EIGHT_BIT:
        options |= _in_8_bits(shape, head)
    found: tuple[Any, dict[str, Any]] = _architecture(shape, head).from_pretrained(
        source,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused by :func:`_check_report`, in words
        **options,
    )
    if adapted_layers(found[0]):
        merge(found[0])
    return found


def _in_8_bits(shape: Any, head: str) -> dict[str, Any]:
    """Options by which transformers loads the linear layers of a backbone in 8 bits.

    That is LLM.int8 (Dettmers et al. 2022, arXiv 2208.07339). What stands on the backbone, and a pooler, is
    trained and stays whole.
    """
    from transformers import BitsAndBytesConfig

    with torch.device("meta"):
        model = _architecture(shape, head).from_config(shape, trust_remote_code=False)
    inside = {id(part) for part in model.base_model.modules()}
    linear = ((name, part) for name, part in model.named_modules() if isinstance(part, nn.Linear))
    whole = [name for name, part in linear if id(part) not in inside or "pooler" in name]
    settings: Any = BitsAndBytesConfig
    return {
        "quantization_config": settings(load_in_8bit=True, llm_int8_skip_modules=whole or None),
        "device_map": {"": torch.cuda.current_device()},
    }


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
        return _HEADED[head]
    return AutoModelForTextEncoding if type(shape) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel


def _encoding(model: Any) -> nn.Module:
    """The encoder of an encoder-decoder that comes as a whole, such as BART."""
    encoder: nn.Module = model.get_encoder() if model.config.is_encoder_decoder else model
    return encoder


@contextlib.contextmanager
def unloaded_backbone(config: ModelConfig, words: int, head: str = "") -> Iterator[nn.Module]:
    """The backbone of a run without its weights: on "meta", as what is built within.

    ``words``: those of the tokenizer of a backbone from scratch; ``head``: as of :func:`load_backbone`.

    Raises:
        ConfigError: The ``config.json`` of a checkpoint describes no model that can be built.
    """
    if config.init == "scratch":
        with torch.device("meta"):
            yield load_backbone(config, _Words(words), head)
        return
    try:
        folder = read_checkpoint(str(config.pretrained)).backbone
        shape = AutoConfig.from_pretrained(base_of(folder), trust_remote_code=False)
        with torch.device("meta"):
            backbone = _architecture(shape, head).from_config(shape, trust_remote_code=False)
            if not head:
                _drop_pooler(backbone)
            yield backbone if head else check_reads_tokens(_encoding(backbone), str(config.pretrained))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model.pretrained={config.pretrained}: config.json describes no model that can be built"
            f" ({first_line(error)}). Give the folder of a checkpoint that transformers can load"
        ) from error


class _Words:
    """What an architecture asks of a tokenizer, where there is none."""

    pad_token_id = cls_token_id = sep_token_id = 0

    def __init__(self, number: int) -> None:
        self._number = number

    def __len__(self) -> int:
        return self._number


def _drop_pooler(model: Any) -> None:
    """Pooling is ours: an idle pooler is never used, and would count into N."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
