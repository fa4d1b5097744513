"""Who a run is: a hash of everything that changes its measured numbers, and of nothing else.

Part of the identity: ``model``, ``data`` (with the fingerprint of its content in place of its path),
``strategy``, ``train``, ``eval``, ``attack`` and ``seed``. Not part of it: ``trainer`` (devices, threads),
``logger``, ``runs``, ``cache`` and ``fail_fast``. Options that the chosen strategy does not read count as
their defaults, so a sweep of rules of ω trains ``standard`` once; those that the chosen rule does not read
still count. A value that names a file or folder (a frontier, a teacher) counts by its content, not by its
place. ``train.precision=auto`` counts as this word: what a machine takes for it is in its manifest, and
changes results by rounding alone.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path, PurePath
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from retrieval.config import Config, EvalConfig, ModelConfig, PerturbationConfig, StrategyConfig, model_name
from retrieval.config.attack import attack_file, attack_names
from retrieval.config.data import ROLES, SOURCES
from retrieval.config.model import NO_ADAPTER, has_own_keys, unread_keys, vectors_of
from retrieval.config.schema import content_keys
from retrieval.config.strategy import STRATEGIES
from retrieval.config.train import ADAPTER_LEARNING_RATE
from retrieval.errors import ConfigError
from retrieval.run.files import file_hash

SECTIONS = ("model", "data", "strategy", "train", "eval", "attack", "seed")
"""The keys of a configuration that can change a run's numbers."""

WITHOUT_INFLUENCE = ("path", "label", "default_init", "default_pretrained", "dataset", "hub", "beir_url")
"""Keys of ``data`` that say where collections come from or set other keys' defaults: what was read counts, by
its fingerprint."""

MEMORY_KEYS = ("shard",)
"""Keys of ``eval`` that bound its memory and, as devices and threads do, change results by rounding alone."""

LATER_MODEL_KEYS = ("architecture", "query_prompt", "passage_prompt", "adapter", "load_in")
"""Keys of ``model`` that came after there were runs, and count where they are set."""

LATER_STRATEGY_KEYS = ("coefficient",)
"""Keys of ``strategy`` of which the same is true."""

LATER_PERTURBATION_KEYS = ("side", "inserted", "synonyms")
"""Keys of ``strategy.perturbation`` of which the same is true."""

LATER_ATTACK_KEYS = {"paragraph": {"unit": "sentence"}}
"""Keys below those of ``attack`` of which the same is true, with what runs without them mean."""

_STRATEGY_DEFAULTS: dict[str, Any] = asdict(StrategyConfig())

SIGNIFICANT_DIGITS = 12
"""Floats are compared to this many digits: ``range(0.1,0.4,0.1)`` yields 0.30000000000000004 for 0.3."""


def identity(config: DictConfig | Config, fingerprint: str) -> dict[str, Any]:
    """The part of ``config`` that identifies a run, as plain values.

    ``fingerprint``: of the data's content (``retrieval.data.sources.fingerprint``).

    Raises:
        ConfigError: A number is not finite.
    """
    whole = cast(dict[str, Any], OmegaConf.to_container(as_config(config), resolve=True))
    chosen = {section: whole[section] for section in SECTIONS}
    data = {key: value for key, value in chosen["data"].items() if key not in WITHOUT_INFLUENCE}
    for role in ROLES:
        # Domains of a local suite are folders: their content is in the fingerprint, their place is not.
        data[role] = [PurePath(str(domain)).name for domain in data.get(role) or []]
    family = str(chosen["model"]["family"])
    chosen["model"] = model_part(chosen["model"])
    chosen["data"] = {**data, "fingerprint": fingerprint}
    chosen["strategy"] = _strategy(chosen["strategy"])
    chosen["train"] = _training(chosen["train"], whole["model"])
    chosen["eval"] = _evaluation(chosen["eval"], family)
    chosen["attack"] = _attack(chosen["attack"])
    for *parents, key in content_keys():
        section = chosen
        for parent in parents:
            section = section.get(parent) or {}
        if section.get(key):
            section[key] = content_hash(str(section[key]))
    return cast(dict[str, Any], canonical(chosen))


def identity_hash(value: Mapping[str, Any]) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of ``value``: sorted keys, canonical numbers."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def changed_key(stored: Path, config: DictConfig | Config) -> str | None:
    """The first setting in which a stored configuration is not that of ``config``; ``None`` if there is none.

    Keys that name files count neither way: the same content may lie elsewhere by now.
    """
    theirs: Any = None
    with suppress(OSError, ValueError, YAMLError, OmegaConfBaseException):
        theirs = OmegaConf.to_container(OmegaConf.load(stored), resolve=True)
    if not isinstance(theirs, dict):
        return "its syntax"
    ours = cast(dict[str, Any], OmegaConf.to_container(as_config(config), resolve=True))
    for whole in (theirs, ours):
        model = whole.get("model")
        if isinstance(whole.get("eval"), dict):
            named = model.get("family") if isinstance(model, dict) else None
            whole["eval"] = _evaluation(whole["eval"], str(named or ModelConfig.family))
        if isinstance(model, dict):
            if isinstance(whole.get("train"), dict):
                whole["train"] = _training(whole["train"], model)
            whole["model"] = model_part(model)
        if isinstance(whole.get("strategy"), dict):
            whole["strategy"] = _strategy(whole["strategy"])
    found, expected = (
        {key: _comparable(leaf) for key, leaf in leaves({name: whole.get(name) for name in SECTIONS}).items()}
        for whole in (theirs, ours)
    )
    ignored = [f"data.{key}" for key in (*WITHOUT_INFLUENCE, *ROLES)]
    ignored += [".".join(key) for key in content_keys()] + ["attack.replay"]
    ignored.append("attack.chosen")
    if not attack_names(ours["attack"]):
        ignored.append("attack")
    places = tuple(f"{place}." for place in ignored)
    keys = (key for key in sorted(found.keys() | expected.keys()) if not f"{key}.".startswith(places))
    return next((key for key in keys if found.get(key, "absent") != expected.get(key, "absent")), None)


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Values of nested mappings by dotted key."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    parts = (leaves(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items())
    return {key: leaf for part in parts for key, leaf in part.items()}


def _comparable(leaf: Any) -> Any:
    """Numbers as text, equal ones alike."""
    number = isinstance(leaf, int | float) and not isinstance(leaf, bool)
    return f"{leaf:.{SIGNIFICANT_DIGITS}g}" if number else leaf


def run_name(config: DictConfig | Config, who: str) -> str:
    """Name of a run's directory: ``<model>_<data>_f<frac>_<strategy>_s<seed>_<hash8>``.

    ``who``: the run's identity hash.

    Every part is reduced to letters, digits, ``.``, ``+`` and ``-``, so that no name can leave the folder
    of the runs.
    """
    config = as_config(config)
    fraction = f"{config.data.frac:.{SIGNIFICANT_DIGITS}g}"
    parts = [
        safe(model_name(cast(Any, config.model))),
        safe(data_label(config)),
        f"f{safe(fraction)}",
        safe(config.strategy.name),
        f"s{safe(str(config.seed))}",
        who[:8],
    ]
    return "_".join(parts)


def data_label(config: DictConfig | Config) -> str:
    """Name of the data in run names and results: the label, or what the source calls them."""
    data = config.data
    return str(data.label or SOURCES[data.name].label(data) or data.name)


def safe(text: str) -> str:
    """``text`` as a part of a file name: at most 60 of ``A–Z a–z 0–9 . + -``, no leading dot or dash."""
    cleaned = re.sub(r"[^A-Za-z0-9.+-]+", "-", text)[:60].strip(".-")
    return cleaned or "unnamed"


def canonical(value: Any) -> Any:
    """``value`` with equal numbers written equally: 1.0 becomes 1, floats keep 12 significant digits."""
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigError(f"the configuration holds the number {value}; use a finite one")
        rounded = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
        return int(rounded) if rounded.is_integer() else rounded
    return value


def as_config(config: DictConfig | Config) -> DictConfig:
    """``config`` as an OmegaConf node, so that interpolations resolve against the whole."""
    return config if isinstance(config, DictConfig) else cast(DictConfig, OmegaConf.structured(config))


def model_part(model: dict[str, Any]) -> dict[str, Any]:
    """What identifies a model; a dual encoder is what it was before there were other families.

    Keys that its family does not read are none of it, nor are later keys that nobody sets.
    """
    family = str(model.get("family"))
    defaults = {item.name: item.default for item in fields(ModelConfig)}
    known: dict[str, Any] = defaults | {key: value for key, value in model.items() if key in defaults}
    plain, other = family == ModelConfig.family, unread_keys(family)
    settled = {} if has_own_keys(family) and not plain else vectors_of(ModelConfig(**known))._asdict()
    later = {key: defaults[key] for key in LATER_MODEL_KEYS}
    if not model.get("query_expansion"):
        # Runs that asked for expansion before this was a key attended to it: null means another thing now.
        later["attend_to_expansion"] = None
    if model.get("adapter") in (None, NO_ADAPTER):
        model = {key: value for key, value in model.items() if key != "lora"}
    ignored = other | later | ({"family": family} if plain else {})
    return {
        key: value for key, value in (model | settled).items() if key not in ignored or value != ignored[key]
    }


def _strategy(strategy: dict[str, Any]) -> dict[str, Any]:
    """What identifies a strategy: keys that it does not read stand at their defaults.

    Keys of a strategy and of its perturbation that came after there were runs count where they are set.
    """
    name = str(strategy.get("name"))  # not known: of a plug-in that is not installed any more
    unread = STRATEGIES[name].unread_keys(strategy) if name in STRATEGIES else frozenset()
    strategy = strategy | {key: _STRATEGY_DEFAULTS[key] for key in unread & strategy.keys()}
    unset = [key for key in LATER_STRATEGY_KEYS if strategy.get(key) is None]
    strategy = {key: value for key, value in strategy.items() if key not in unset}
    perturbation = strategy.get("perturbation")
    if not isinstance(perturbation, dict):
        return strategy
    defaults = PerturbationConfig()
    kept = {
        key: value
        for key, value in perturbation.items()
        if key not in LATER_PERTURBATION_KEYS or value != getattr(defaults, key)
    }
    return {**strategy, "perturbation": kept}


def _training(train: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    """Without gradient checkpointing a run is what it was before there was any.

    The learning rate of adapters counts as a number: what null means for them has changed.
    """
    adapted = model.get("adapter") not in (None, NO_ADAPTER) and model.get("init") == "pretrained"
    if adapted and train.get("lr") is None:
        train = {**train, "lr": ADAPTER_LEARNING_RATE}
    return {key: value for key, value in train.items() if key != "gradient_checkpointing" or value}


def _evaluation(evaluation: dict[str, Any], family: str) -> dict[str, Any]:
    """Without an untrained row, variations or probes a run is what it was before there were any.

    Keys that only other families read are none of it.
    """
    readers = {item.name: item.metadata["knob"].families for item in fields(EvalConfig)}
    without = [*MEMORY_KEYS, *(name for name, read in readers.items() if read and family not in read)]
    if not evaluation.get("untrained"):
        without.append("untrained")
    if not evaluation.get("variations"):
        without += ["variations", "variation_rate", "synonyms"]
    if not evaluation.get("probes"):
        without.append("probes")
    kept = {key: value for key, value in evaluation.items() if key not in without}
    # What is asked for counts, not in which order.
    return kept | {key: sorted(set(kept[key])) for key in ("variations", "probes") if key in kept}


def _attack(attack: dict[str, Any]) -> dict[str, Any]:
    """Without an attack no option of one counts, and a replay has only the passages it replays."""
    if attack["replay"]:
        passages = content_hash(str(attack_file(attack["replay"])))
        return {"replay": passages, "similarity_model": attack["similarity_model"]}
    names = attack_names(attack)
    if not names:
        return {"name": "none"}
    named = names[0] if len(names) == 1 else list(names)
    kept = {key: _set_later(key, value) for key, value in attack.items() if key != "chosen"}
    return {**kept, "name": named}


def _set_later(name: str, value: Any) -> Any:
    """Options of an attack without those later keys that are not set."""
    later = LATER_ATTACK_KEYS.get(name, {})
    if not isinstance(value, dict):
        return value
    return {key: own for key, own in value.items() if key not in later or own != later[key]}


def content_hash(value: str) -> str:
    """``value`` as part of an identity: the hash of the file or folder it names, itself where there is none.

    Of a run folder only the encoder counts.
    """
    path = Path(value)
    if not path.exists():
        return value  # a hub id or a keyword such as `bm25`
    model = path / "model"
    root = model if model.is_dir() else path
    files = sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else [root]
    digest = hashlib.sha256()
    for file in files:
        state = file.stat()
        # A file that is given by itself counts by its content alone, whatever it is called.
        name = file.relative_to(root).as_posix() if root.is_dir() else ""
        content = _file_hash(str(file.resolve()), state.st_size, state.st_mtime_ns)
        digest.update(f"{name}\0{content}\n".encode())
    return f"sha256:{digest.hexdigest()}"


@cache
def _file_hash(path: str, size: int, modified: int) -> str:
    """Hash of one file; size and time are part of the cache's key, so that a rewritten file is read anew."""
    return file_hash(Path(path))
