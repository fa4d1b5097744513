"""Keys that no schema has: finding them in a configuration, and the line that says what was meant."""

import difflib
from dataclasses import fields

from omegaconf import DictConfig, OmegaConf

from retrieval.config.attack import attack_names
from retrieval.config.knobs import groups
from retrieval.config.schema import Config, option_schemas, own_keys


def unread_key(config: DictConfig, schema: type = Config, path: str = "") -> str | None:
    """The first key of a composed configuration, dotted, that nothing reads; ``None`` without one.

    Runs once a cell, so it asks the schemas for their fields and no more.
    """
    options = option_schemas().get(path, {})
    # Keys of a strategy's plug-ins may be those of its rule, which it names by itself.
    chosen = list(options.values())
    if path != "strategy":
        names = attack_names(config) if path == "attack" else (str(config.get("name")),)
        chosen = [options[name] for name in names if name in options]
    known = {item.name for each in (schema, *chosen) for item in fields(each)}
    nested = {name: part for each in (schema, *chosen) for name, part in groups(each).items()}
    for name in map(str, config):
        key = f"{path}.{name}" if path else name
        if name not in known and key != "hydra":
            return key
        child = OmegaConf.select(config, name) if name in nested else None
        found = unread_key(child, nested[name], key) if isinstance(child, DictConfig) else None
        if found is not None:
            return found
    return None


def unknown_key(key: str) -> str:
    """The line for a dotted key that the chosen options do not have."""
    parent, _, name = key.rpartition(".")
    group = key.partition(".")[0]
    owners = [
        f"{group}={option}"
        for option, keys in own_keys(group).items()
        if any(f"{each.key}.".startswith(f"{key}.") for each in keys)
    ]
    if owners:
        return f"{key} is a key of {' and '.join(owners)} only; choose that, or drop the key"
    where, valid = f"{parent}." if parent else "", _names(parent)
    return f"no key {key}{suggestion(name, valid)}; valid: {', '.join(where + each for each in valid)}"


def suggestion(value: str, valid: list[str]) -> str:
    """A question after the valid name that is most like ``value``; empty where none is."""
    close = difflib.get_close_matches(value, valid, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _names(path: str) -> list[str]:
    """Names of the keys and groups at a dotted path, with those that only some options of it have."""
    below = f"{path}."
    every = (each.key for keys in own_keys(path.partition(".")[0]).values() for each in keys)
    own = {key.removeprefix(below) for key in every if key.startswith(below)}
    node: type | None = Config
    for part in path.split(".") if path else []:
        node = groups(node).get(part) if node else None
    return sorted(own.union(item.name for item in fields(node))) if node else []
