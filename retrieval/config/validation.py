"""Checks of values and of how they fit together, with one message for people per mistake."""

import re
from collections.abc import Mapping
from dataclasses import fields
from importlib.util import find_spec
from itertools import combinations
from typing import cast

from omegaconf import DictConfig, OmegaConf

from retrieval.config.attack import ATTACKS, AttackConfig, attack_file, attack_names
from retrieval.config.data import ROLES
from retrieval.config.evaluation import VARIATIONS
from retrieval.config.model import (
    ARCHITECTURES,
    FAMILIES,
    NO_ADAPTER,
    WHOLE,
    LoraConfig,
    ModelConfig,
    has_own_keys,
    unread_keys,
)
from retrieval.config.schema import Config, settings_of
from retrieval.config.strategy import STRATEGIES
from retrieval.config.unknown import unknown_key, unread_key
from retrieval.errors import ConfigError

PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,100}")
"""Names of collections: they become names of folders in the cache."""

ONE_ROLE = {
    ("robust", "robust_dev"): "a domain that is trained on cannot stand in for the unknown",
    ("robust", "ood"): "a domain that is trained on cannot measure out-of-distribution robustness",
    ("robust_dev", "ood"): "a domain that steers training cannot measure out-of-distribution robustness",
}
"""Why a domain cannot be in both roles."""


def validate(config: DictConfig) -> Config:
    """Check a composed configuration and return it (typed view, all interpolations resolvable).

    Where there are several attacks, ``attack.name`` becomes their list.

    Raises:
        ConfigError: names the key, the bad value, the valid ones and, where it helps, the fix.
    """
    names = attack_names(config.attack)
    if len(names) > 1:
        config.attack.name = list(names)
    for setting in settings_of(str(config.data.name), names):
        setting.knob.check(setting.key, OmegaConf.select(config, setting.key, throw_on_missing=True))
    unread = unread_key(config)
    if unread is not None:
        raise ConfigError(unknown_key(unread))
    typed = cast(Config, config)
    for key in ("runs", "cache"):
        if not str(typed[key]).strip():  # type: ignore[index]
            raise ConfigError(f"{key} is empty; name a folder")
    for rule in (_model, _strategy, _evaluation, _attack, _pairs, _data):
        rule(typed)
    return typed


def _model(config: Config) -> None:
    model = config.model
    if model.family != ModelConfig.family:
        FAMILIES[model.family].check(model)
    if has_own_keys(model.family):
        for key, default in unread_keys(model.family).items():
            if getattr(model, key) != default:
                raise ConfigError(
                    f"model.{key}={getattr(model, key)} is not read by model.family={model.family}; drop the "
                    "key, or choose another family"
                )
    _adapter(model)
    _loading(config)
    if model.init == "pretrained":
        if not model.pretrained:
            raise ConfigError(
                "model.init=pretrained needs model.pretrained, a Hugging Face hub id or a local folder; "
                "or set model.init=scratch"
            )
        if model.architecture != ModelConfig.architecture:
            raise ConfigError(
                f"model.architecture={model.architecture} would not be used with model.init=pretrained: the "
                "checkpoint has its own; set model.init=scratch, or drop it"
            )
        return
    if model.pretrained and model.pretrained != config.data.default_pretrained:
        raise ConfigError(
            f"model.pretrained={model.pretrained} would not be used with model.init=scratch; "
            "set model.init=pretrained, or drop it"
        )
    ARCHITECTURES[model.architecture].check(model)


def _adapter(model: ModelConfig) -> None:
    if model.adapter == NO_ADAPTER:
        for item in fields(LoraConfig):
            value = getattr(model.lora, item.name)
            if value != item.default:
                raise ConfigError(
                    f"model.lora.{item.name}={value} would not be used with model.adapter=none; "
                    "add model.adapter=lora"
                )
    elif find_spec("peft") is None:
        raise ConfigError("model.adapter=lora needs peft; install the extra: pip install 'paretrieve[lora]'")


def _loading(config: Config) -> None:
    model, place = config.model, config.trainer.accelerator
    if model.load_in == WHOLE:
        return
    named = f"model.load_in={model.load_in}"
    if model.adapter == NO_ADAPTER:
        raise ConfigError(
            f"{named} keeps weights that cannot be trained themselves; add model.adapter=lora, or set "
            f"model.load_in={WHOLE}"
        )
    if model.init != "pretrained":
        raise ConfigError(f"{named} loads a checkpoint; set model.init=pretrained, or model.load_in={WHOLE}")
    if place not in ("auto", "gpu", "cuda"):
        raise ConfigError(
            f"{named} needs an NVIDIA GPU, and trainer.accelerator={place}; set model.load_in={WHOLE}, or "
            "trainer.accelerator=gpu"
        )
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"{named} needs bitsandbytes; install the extra: pip install 'paretrieve[quantised]'"
        )


def _strategy(config: Config) -> None:
    strategy = config.strategy
    if strategy.omega_min >= strategy.omega_max:
        raise ConfigError(
            f"strategy.omega_min={strategy.omega_min} must be below strategy.omega_max={strategy.omega_max}"
        )
    STRATEGIES[strategy.name](strategy).check(config)


def _evaluation(config: Config) -> None:
    pool = config.eval.pool
    if pool is not None and pool <= config.eval.negatives:
        raise ConfigError(
            f"eval.pool={pool} cannot give eval.negatives={config.eval.negatives} irrelevant passages; "
            f"use eval.pool={2 * config.eval.negatives} or more, or fewer negatives"
        )
    for key in ("variations", "probes"):
        if config.eval.name == "none" and getattr(config.eval, key):
            raise ConfigError(
                f"eval=none measures nothing, so no eval.{key} either; use eval=quick or eval=full"
            )
    for name in config.eval.variations:
        VARIATIONS[name].check(config.eval)
    if config.eval.synonyms is not None and "synonyms" not in config.eval.variations:
        raise ConfigError(
            f"eval.synonyms={config.eval.synonyms} would not be used: eval.variations lacks synonyms; add "
            "it, or drop the key"
        )


def _attack(config: Config) -> None:
    attack = config.attack
    if attack.replay is not None:
        if not attack_file(attack.replay).is_file():
            raise ConfigError(
                f"attack.replay={attack.replay}: no attacked passages there ({attack_file(attack.replay)} is "
                "missing); give a run that had an attack, or its attack.jsonl"
            )
    elif not attack_names(attack):
        defaults = AttackConfig()
        for name in (field.name for field in fields(AttackConfig) if field.name != "chosen"):
            value = getattr(attack, name)
            if value != getattr(defaults, name):
                raise ConfigError(
                    f"attack.{name}={value} would not be used with attack=none; "
                    f"add attack={' or '.join(ATTACKS)}"
                )
        return
    if config.eval.name == "none":
        raise ConfigError("eval=none measures nothing, so no attack either; use eval=quick or eval=full")
    if attack.replay is None:
        _attack_search(config)


def _attack_search(config: Config) -> None:
    attack = config.attack
    for name in attack_names(attack):
        ATTACKS[name].check(config)
    if not _promotes(attack):
        return
    width = attack.last_rank - attack.first_rank + 1
    if width < attack.targets:
        raise ConfigError(
            f"attack.targets={attack.targets} needs as many ranks; attack.first_rank={attack.first_rank} to "
            f"attack.last_rank={attack.last_rank} are {max(0, width)}"
        )
    if config.eval.pool is not None and config.eval.pool < attack.last_rank:
        raise ConfigError(
            f"attack.last_rank={attack.last_rank} is beyond eval.pool={config.eval.pool}; lower the one or "
            "raise the other"
        )
    if attack.targets > config.eval.negatives:
        raise ConfigError(
            f"attack.targets={attack.targets} is more than eval.negatives={config.eval.negatives}: attacked "
            "passages count among the negatives"
        )


def _promotes(attack: AttackConfig) -> bool:
    """Whether passages of the corpus are to be promoted, by one attack at least."""
    return any(ATTACKS[name].promotes for name in attack_names(attack))


def _pairs(config: Config) -> None:
    """What a model that scores pairs by a pass each cannot do."""
    if config.model.family == ModelConfig.family or not FAMILIES[config.model.family].by_pair:
        return
    attack, evaluation, named = config.attack, config.eval, f"model.family={config.model.family}"
    searched = attack.replay is None and _promotes(attack)
    if searched and attack.similarity > 0 and attack.similarity_model is None:
        raise ConfigError(
            f"attack.similarity={attack.similarity}: {named} gives no vectors that tell how alike two "
            "passages are; set attack.similarity_model, or leave attack.similarity out"
        )
    if searched and attack.last_rank > evaluation.rerank_depth:
        raise ConfigError(
            f"attack.last_rank={attack.last_rank} is beyond eval.rerank_depth={evaluation.rerank_depth}, the "
            f"candidates that {named} ranks; lower the one or raise the other"
        )
    mines = STRATEGIES[config.strategy.name](config.strategy).hard_negatives
    if mines and config.strategy.hard.refresh:
        raise ConfigError(
            f"strategy.hard.refresh={config.strategy.hard.refresh}: {named} scores pairs and cannot search a "
            "corpus for negatives; leave it out, and let strategy.hard.source mine them"
        )


def _data(config: Config) -> None:
    for first, second in combinations(ROLES, 2):
        shared = sorted(set(config.data[first]) & set(config.data[second]))  # type: ignore[index]
        if shared:
            raise ConfigError(
                f"{', '.join(shared)} is both in data.{first} and in data.{second}: "
                f"{ONE_ROLE[first, second]}; remove it from one"
            )
    for key in ("domains", "hub"):
        value = config.data.get(key)  # type: ignore[attr-defined]
        # The synthetic collection's ``domains`` is their number.
        for name in map(str, value if isinstance(value, Mapping | DictConfig) else {}):
            if not PLAIN_NAME.fullmatch(name):
                raise ConfigError(
                    f"data.{key} has the name {name!r}, which becomes a folder's; "
                    "use letters, digits, dots, dashes and underscores, no dot or dash first"
                )
