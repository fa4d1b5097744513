"""Checks of values and of how they fit together, with one message for people per mistake."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from retrieval.config.attack import AttackConfig, attack_file
from retrieval.config.data import ROLES
from retrieval.config.margins import check_margin
from retrieval.config.schema import Config, settings_of
from retrieval.config.strategy import GRADIENT_RULES, chosen_rule
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

    Raises:
        ConfigError: names the key, the bad value, the valid ones and, where it helps, the fix.
    """
    known = {field.name for field in fields(Config)} | {"hydra"}
    for name in map(str, config):
        if name not in known:
            raise ConfigError(f"no key {name}; valid: {', '.join(sorted(known - {'hydra'}))}")
    for setting in settings_of(str(config.data.name)):
        setting.knob.check(setting.key, OmegaConf.select(config, setting.key, throw_on_missing=True))
    typed = cast(Config, config)
    for rule in (_model, _strategy, _evaluation, _attack, _data):
        rule(typed)
    return typed


def _model(config: Config) -> None:
    model = config.model
    if model.init == "pretrained":
        if not model.pretrained:
            raise ConfigError(
                "model.init=pretrained needs model.pretrained, a Hugging Face hub id or a local folder; "
                "or set model.init=scratch"
            )
        return
    if model.pretrained and model.pretrained != config.data.default_pretrained:
        raise ConfigError(
            f"model.pretrained={model.pretrained} would not be used with model.init=scratch; "
            "set model.init=pretrained, or drop it"
        )
    heads = model.heads or max(1, model.hidden // 64)
    if model.hidden % heads:
        valid = ", ".join(str(n) for n in range(1, model.hidden + 1) if model.hidden % n == 0)
        raise ConfigError(
            f"model.hidden={model.hidden} does not divide into {heads} attention heads; "
            f"use a multiple of 64, or one of model.heads={valid}"
        )


def _strategy(config: Config) -> None:
    strategy = config.strategy
    if strategy.omega_min >= strategy.omega_max:
        raise ConfigError(
            f"strategy.omega_min={strategy.omega_min} must be below strategy.omega_max={strategy.omega_max}"
        )
    if (strategy.base if strategy.name == "pareto" else strategy.name) == "denoising":
        check_margin(strategy.denoise)
    _batch_split(config)
    _several_devices(config)
    if strategy.name != "pareto":
        _reject_unused(config, ("omega", "frontier", "mixture"), "only strategy=pareto has an ω")
        if strategy.recalibrate:
            raise ConfigError(
                f"strategy.recalibrate={strategy.recalibrate} would not be used: only strategy=pareto "
                "has an ω"
            )
        return
    rule = chosen_rule(strategy, bool(config.data.robust_dev))
    if rule in ("fixed", "schedule") and strategy.omega is None:
        raise ConfigError(f"strategy.rule={rule} needs strategy.omega, a number from 0 to 1")
    _mixture(config)
    if rule in ("repeats", "guarded"):
        _reject_unused(config, ("omega",), f"strategy.rule={rule} takes ω from the number of pairs")
    if rule != "schedule" and strategy.schedule != "constant":
        raise ConfigError(
            f"strategy.schedule={strategy.schedule} would not be used with strategy.rule={rule}; "
            "set strategy.rule=schedule"
        )
    if rule in GRADIENT_RULES:
        _gradient_rule(config)


def _mixture(config: Config) -> None:
    strategy = config.strategy
    if chosen_rule(strategy, bool(config.data.robust_dev)) == "law":
        _reject_unused(config, ("omega",), "strategy.rule=law takes ω from strategy.mixture")
        if strategy.mixture is None:
            raise ConfigError(
                "strategy.rule=law needs strategy.mixture=FILE; write one with "
                "`python -m sweeps mixture --out mixture.json`"
            )
    else:
        _reject_unused(config, ("mixture",), "only strategy.rule=law reads it")
    if strategy.rule == "soup":
        omegas = [float(omega) for omega in strategy.omegas]
        if len(omegas) != 2 or not 0 <= omegas[0] < omegas[1] <= 1:
            raise ConfigError(
                f"strategy.omegas={omegas} must be a low and a high ω from 0 to 1, such as [0,0.5]"
            )


def _batch_split(config: Config) -> None:
    """With an equal budget every loss needs two pairs of the batch: one is the other's negative."""
    strategy, size = config.strategy, config.train.batch_size
    if strategy.name not in ("adversarial", "pareto"):
        return
    if strategy.mixing == "steps":
        if strategy.budget != "equal":
            raise ConfigError(
                f"strategy.budget={strategy.budget} would not be used with strategy.mixing=steps, where each "
                "step is one whole batch; set strategy.mixing=loss"
            )
        return
    if strategy.budget != "equal":
        return
    mixed = strategy.base == "adversarial" or strategy.robust == "both"
    parts = 4 if strategy.name == "pareto" and mixed else 2
    if size < 2 * parts:
        raise ConfigError(
            f"train.batch_size={size} cannot be split between the losses; "
            f"use {2 * parts} or more, or strategy.budget=extra"
        )


def _several_devices(config: Config) -> None:
    strategy, devices = config.strategy, config.trainer.devices
    if devices == 1:
        return
    pareto = strategy.name == "pareto"
    base = strategy.base if pareto else strategy.name
    perturbs = base == "adversarial" or (pareto and strategy.robust != "ood")
    if perturbs and strategy.perturbation.kind == "noise":
        raise ConfigError(
            f"strategy.perturbation.kind=noise draws words on one device, not on trainer.devices={devices}; "
            "use fgsm, pgd or substitution, or trainer.devices=1"
        )
    split = strategy.mixing == "loss" and strategy.name in ("adversarial", "pareto")
    if config.train.batch_size < devices * (4 if split else 1):
        raise ConfigError(
            f"train.batch_size={config.train.batch_size} cannot be shared by trainer.devices={devices}"
        )


def _gradient_rule(config: Config) -> None:
    rule = config.strategy.rule
    if config.strategy.mixing != "loss":
        raise ConfigError(
            f"strategy.rule={rule} needs the gradients of both losses in every step, and "
            "strategy.mixing=steps computes one; set strategy.mixing=loss"
        )
    _reject_unused(config, ("omega",), f"strategy.rule={rule} chooses ω from the gradients")
    missing = [name for name in ("torchjd", "qpsolvers", "quadprog") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"strategy.rule={rule} needs {', '.join(missing)}; "
            "install with: pip install 'paretrieve[gradients]'"
        )
    if config.trainer.devices > 1:
        raise ConfigError(
            f"strategy.rule={rule} works on one device, not on trainer.devices={config.trainer.devices}; "
            "use trainer.devices=1, or strategy.mixing=steps"
        )


def _reject_unused(config: Config, names: Iterable[str], reason: str) -> None:
    for name in names:
        value = getattr(config.strategy, name)
        if value is not None:
            raise ConfigError(f"strategy.{name}={value} would not be used: {reason}")


def _evaluation(config: Config) -> None:
    pool = config.eval.pool
    if pool is not None and pool <= config.eval.negatives:
        raise ConfigError(
            f"eval.pool={pool} cannot give eval.negatives={config.eval.negatives} irrelevant passages; "
            f"use eval.pool={2 * config.eval.negatives} or more, or fewer negatives"
        )


def _attack(config: Config) -> None:
    attack = config.attack
    if attack.replay is not None:
        if not attack_file(attack.replay).is_file():
            raise ConfigError(
                f"attack.replay={attack.replay}: no attacked passages there ({attack_file(attack.replay)} is "
                "missing); give a run that had attack=wsra, or its attack.jsonl"
            )
    elif attack.name == "none":
        defaults = AttackConfig()
        for name in (field.name for field in fields(AttackConfig)):
            value = getattr(attack, name)
            if value != getattr(defaults, name):
                raise ConfigError(
                    f"attack.{name}={value} would not be used with attack=none; add attack=wsra"
                )
        return
    if config.eval.name == "none":
        raise ConfigError("eval=none measures nothing, so no attack either; use eval=quick or eval=full")
    if attack.replay is None:
        _attack_search(config)


def _attack_search(config: Config) -> None:
    attack = config.attack
    if attack.synonyms != "embedding" and not Path(attack.synonyms).is_file():
        raise ConfigError(
            f"attack.synonyms={attack.synonyms}: no such file; valid: embedding, or a JSON file of synonyms"
        )
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
