"""LoRA (Hu et al. 2021, arXiv 2106.09685) by peft: low-rank matrices that train beside frozen weights."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from retrieval.config.model import LoraConfig
from retrieval.errors import ConfigError
from retrieval.models.checkpoint import ADAPTER

QUANTISED = ("SCB", "weight_format")
"""What bitsandbytes keeps beside the weights of a layer in 8 bits."""

WEIGHTS = "adapter_model.safetensors"
"""Weights of an adapter, by peft's name."""


def add_adapters(backbone: Any, lora: LoraConfig) -> None:
    """Freeze a backbone and put trainable low-rank matrices beside its linear layers, in place.

    A pooler gets none: where there is one, it is trained whole. The initial matrices change no vector, and
    come from PyTorch's generator.

    Raises:
        ConfigError: A target is no linear layer.
    """
    import peft

    named = sorted({name.rpartition(".")[2] for name, part in backbone.named_modules() if _is_linear(part)})
    unknown = sorted(set(lora.targets or ()) - set(named))
    if unknown:
        raise ConfigError(
            f"model.lora.targets: {', '.join(unknown)} names no linear layer of the backbone; "
            f"valid: {', '.join(named)}"
        )
    own = peft.utils.constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    targets = list(lora.targets or own.get(backbone.config.model_type) or named)
    poolers = [name for name, part in backbone.named_modules() if "pooler" in name and _is_linear(part)]
    shape = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        exclude_modules=poolers or None,
    )
    backbone.add_adapter(shape)


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | Conv1D)


def adapted_layers(model: nn.Module) -> dict[str, Any]:
    """Layers with an adapter beside them, by name."""
    return {name: part for name, part in model.named_modules() if hasattr(part, "base_layer")}


def adapter_parameters(model: nn.Module) -> list[nn.Parameter]:
    """What adapters add to the parameters of a model."""
    return [
        parameter
        for layer in adapted_layers(model).values()
        for name, parameter in layer.named_parameters()
        if not name.startswith("base_layer.")
    ]


def folds(model: nn.Module) -> bool:
    """Whether :func:`whole_weight` gives every layer: linear ones, with low-rank terms and nothing else."""
    return all(_is_low_rank(layer) for layer in adapted_layers(model).values())


def _is_low_rank(layer: Any) -> bool:
    from peft.tuners.lora import Linear

    return (
        type(layer) is Linear
        and not layer.fan_in_fan_out
        and not layer.lora_variant
        and not any(layer.lora_bias.values())
        and all(isinstance(each, nn.Identity) for each in layer.lora_dropout.values())
    )


def whole_weight(layer: Any) -> Tensor:
    """The weight ``W + s·B·A`` of a linear layer, with the graph to what of it is trained."""
    weight: Tensor = layer.weight
    if not hasattr(layer, "base_layer") or layer.merged:
        return weight
    for name in layer.active_adapters:
        if name in layer.lora_A:
            product = layer.lora_B[name].weight @ layer.lora_A[name].weight
            weight = weight + layer.scaling[name] * product
    return weight


def merge(backbone: Any) -> None:
    """Add the adapters to the weights, in place; a plain model is left."""
    for layer in adapted_layers(backbone).values():
        layer.merge()
    _remove(backbone)
    # It is another model now than the one that was loaded under its name.
    backbone.name_or_path = backbone.config._name_or_path = ""


def without_adapters(backbone: Any) -> Any:
    """A copy of a backbone as it is without its adapters."""
    plain = copy.deepcopy(backbone)
    _remove(plain)
    return plain


def _remove(backbone: Any) -> None:
    for name, layer in adapted_layers(backbone).items():
        parent, _, own = name.rpartition(".")
        setattr(backbone.get_submodule(parent), own, layer.base_layer)
    for parameter in backbone.parameters():
        parameter.requires_grad_(True)
    backbone._hf_peft_config_loaded = False
    del backbone.peft_config


def save_adapters(backbone: Any, into: Path, folder: Path) -> None:
    """Turn the saved model ``into``, which has the backbone without adapters, into one with them.

    The base of a checkpoint is named, not copied; one from scratch stays. ``folder``: where ``into`` will be.
    """
    apart = into / "adapter"
    backbone.save_pretrained(str(apart))
    settings = json.loads((apart / ADAPTER).read_text(encoding="utf-8"))
    base = backbone.name_or_path or ""
    if base:
        for path in (into / "config.json", *into.glob("model*.safetensors*")):
            path.unlink()
    place = Path(base or folder)
    settings["base_model_name_or_path"] = str(place.resolve()) if place.is_dir() or not base else base
    # peft keeps a set, whose order changes from process to process.
    settings["target_modules"] = sorted(settings["target_modules"])
    (into / ADAPTER).write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")
    (apart / WEIGHTS).rename(into / WEIGHTS)
    shutil.rmtree(apart)


def fixed_names(model: nn.Module) -> set[str]:
    """Names of what training leaves as it is: frozen weights, all names of a tied one, and their scales."""
    named = model.named_parameters(remove_duplicate=False)
    frozen = {name for name, parameter in named if not parameter.requires_grad}
    layers = {name.rpartition(".")[0] for name in frozen if name.endswith(".weight")}
    return frozen | {f"{layer}.{key}" for layer in layers for key in QUANTISED}


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """What training changes of a model, by name."""
    fixed = fixed_names(model)
    return {name: value for name, value in model.state_dict().items() if name not in fixed}


def load_trained(model: nn.Module, weights: dict[str, Any]) -> None:
    """Load what the checkpoint of a run holds: all weights, or those beside a frozen backbone.

    Raises:
        RuntimeError: They are not the trained weights of ``model``.
    """
    missing, unknown = model.load_state_dict(weights, strict=False)
    wrong = [*(set(missing) - fixed_names(model)), *unknown]
    if wrong:
        raise RuntimeError(f"these are not the trained weights of the model: {', '.join(sorted(wrong))}")
