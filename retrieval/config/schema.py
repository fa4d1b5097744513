"""The whole configuration: one field a group, and what belongs to none."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from omegaconf import MISSING

from retrieval.config.attack import AttackConfig
from retrieval.config.data import SOURCES, DataConfig
from retrieval.config.evaluation import EvalConfig
from retrieval.config.knobs import Setting, knob, settings
from retrieval.config.logger import LoggerConfig
from retrieval.config.model import SIZES, ModelConfig
from retrieval.config.strategy import StrategyConfig, own_schemas
from retrieval.config.train import TrainConfig
from retrieval.config.trainer import TrainerConfig


@dataclass
class SweepConfig:
    """Which cells a sweep (``-m``) has beside, or instead of, all combinations; no part of a run."""

    cells: str | None = knob(
        None, "CSV file of cells: a row each, columns are keys; crossed with what the command line sweeps."
    )
    where: str | None = knob(
        None,
        "Keep cells for which it is true, such as size/params_total < 2e8 and strategy == 'pareto'.",
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
def settings_of(source: str) -> tuple[Setting, ...]:
    """Every key of a configuration whose ``data.name`` is ``source``, where there is such a source."""
    shared = (setting for setting in settings(Config) if not setting.key.startswith("data."))
    return (*shared, *settings(SOURCES[source].schema if source in SOURCES else DataConfig, "data."))


def register_schema() -> None:
    """Make the schema known to Hydra: ``schema``, the sizes of models, and what each source has."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(group="model", name="bert", node={})  # any size: model=bert model.layers=6 model.hidden=512
    for name, (layers, hidden) in SIZES.items():
        store.store(group="model", name=name, node={"layers": layers, "hidden": hidden})
    for name, schema in own_schemas().items():
        store.store(group="strategy", name=f"{name}_schema", node=schema)
    for source, part in SOURCES.items():
        store.store(group="data", name=f"{source}_schema", node=part.schema)
        for option, node in part.options.items():
            folder, _, name = f"data/{option}".rpartition("/")
            store.store(group=folder, name=name, node=node, package="data")
