"""Settings that ``result.json`` states: those of model and training that somebody changed.

A table of runs has a column for each of them, so runs that were swept over the dropout or the learning rate
can be told apart where only the table is left.
"""

from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from retrieval.config import Config, ModelConfig, TrainConfig
from retrieval.run.identity import as_config, canonical, leaves

TOLD = {
    "model": (
        "family",
        "architecture",
        "layers",
        "hidden",
        "init",
        "pretrained",
        "adapter",
        "load_in",
        "lora.rank",
    ),
    "train": ("steps", "precision"),
}
"""Keys that other columns tell: ``model``, ``model_family``, ``train/steps``, ``provenance/precision``."""


def changed_settings(cell: Config | DictConfig) -> dict[str, Any]:
    """``model/…`` and ``train/…`` with another value than the schema's default, such as ``model/dropout``.

    Keys of nested settings have dots (``model/lora.alpha``), lists are joined by commas. A setting that is
    left out has its default.
    """
    whole = cast(dict[str, Any], OmegaConf.to_container(as_config(cell), resolve=True))
    found = {}
    for group, schema in (("model", ModelConfig), ("train", TrainConfig)):
        # Unresolved: what a default refers to is not known here, and keys of that kind are TOLD.
        usual = leaves(canonical(OmegaConf.to_container(OmegaConf.structured(schema), resolve=False)))
        for key, value in leaves(canonical(whole[group])).items():
            if key not in TOLD[group] and value != usual[key]:
                found[f"{group}/{key}"] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return found
