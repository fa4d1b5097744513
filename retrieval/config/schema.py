"""The whole configuration: one field a group, and what belongs to none."""

import itertools
from dataclasses import dataclass, field
from functools import cache

from omegaconf import MISSING

from retrieval.config.attack import ATTACKS, AttackConfig
from retrieval.config.data import SOURCES, DataConfig
from retrieval.config.evaluation import EvalConfig
from retrieval.config.knobs import Setting, knob, settings
from retrieval.config.logger import LoggerConfig
from retrieval.config.model import SIZES, ModelConfig
from retrieval.config.strategy import RULES, STRATEGIES, StrategyConfig
from retrieval.config.train import TrainConfig
from retrieval.config.trainer import TrainerConfig


@dataclass
class SweepConfig:
    """Which cells a sweep (``-m``) has beside, or instead of, all combinations; no part of a run."""

    cells: str | None = knob(
        None, "CSV file of cells: a row each, columns are keys; crossed with what the command line sweeps."
    )
    where: str | None = knob(
        None, "Keep cells for which it is true, such as size/params_total < 2e8 and strategy == 'pareto'."
    )


@dataclass
class Config:
    """One cell of a sweep."""

    model: ModelConfig = MISSING
    data: DataConfig = MISSING
    strategy: StrategyConfig = MISSING
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = MISSING
    attack: AttackConfig = field(default_factory=AttackConfig)
    trainer: TrainerConfig = MISSING
    logger: LoggerConfig = MISSING
    sweep: SweepConfig = field(default_factory=SweepConfig)
    seed: int = knob(
        1, "Seed of initial weights, subset and order of the pairs.", minimum=0, maximum=2**31 - 1
    )
    runs: str = knob("runs", "Folder of the run directories.")
    cache: str = knob(
        ".cache/paretrieve", "Folder of what runs share: tokenizers, token stores, mined negatives."
    )
    fail_fast: bool = knob(False, "Whether a sweep stops at its first failed cell.")


@cache
def settings_of(source: str, attacks: tuple[str, ...]) -> tuple[Setting, ...]:
    """Every key of a configuration with this ``data.name`` and these attacks, where they are known."""
    shared = (each for each in settings(Config) if not each.key.startswith(("data.", "attack.")))
    data = SOURCES[source].schema if source in SOURCES else DataConfig
    schemas = (AttackConfig, *(ATTACKS[name].options for name in attacks if name in ATTACKS))
    attacking = {each.key: each for schema in schemas for each in settings(schema, "attack.")}
    del attacking["attack.chosen"]  # by the group alone
    return (*shared, *settings(data, "data."), *attacking.values())


def option_schemas() -> dict[str, dict[str, type]]:
    """Groups whose options have schemas of their own -> option -> its schema."""
    return {
        "data": {name: source.schema for name, source in SOURCES.items()},
        "strategy": {
            name: kind.options for name, kind in {**STRATEGIES, **RULES}.items() if kind.options is not None
        },
        "attack": {name: attack.options for name, attack in ATTACKS.items()},
    }


def own_keys(group: str) -> dict[str, list[Setting]]:
    """Options of a group that have keys of their own -> these keys."""
    shared = {each.key for each in settings(Config)}
    found = {
        name: [each for each in settings(schema, f"{group}.") if each.key not in shared]
        for name, schema in option_schemas().get(group, {}).items()
    }
    return {name: keys for name, keys in found.items() if keys}


@cache
def content_keys() -> tuple[tuple[str, ...], ...]:
    """Paths of the keys whose value may be a local file or folder."""
    own = (keys for group in option_schemas() for keys in own_keys(group).values())
    every = itertools.chain(settings(Config), *own)
    return tuple(dict.fromkeys(tuple(each.key.split(".")) for each in every if each.knob.content))


def register_schema() -> None:
    """Make the schema known to Hydra: ``schema``, the sizes of models, and what each source has."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(group="model", name="bert", node={})  # any size: model=bert model.layers=6 model.hidden=512
    for name, (layers, hidden) in SIZES.items():
        store.store(group="model", name=name, node={"layers": layers, "hidden": hidden})
    for group, schemas in option_schemas().items():
        for name, schema in schemas.items():
            # Of several attacks the last one sets the name; what is chosen adds up.
            node = schema(chosen={name: True}) if group == "attack" else schema
            store.store(group=group, name=f"{name}_schema", node=node)
    for part in SOURCES.values():
        for option, node in part.options.items():
            folder, _, name = f"data/{option}".rpartition("/")
            store.store(group=folder, name=name, node=node, package="data")
