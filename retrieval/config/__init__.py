"""The typed schema of everything in ``conf/``, one module a group.

Hydra checks types and key names against these dataclasses; :mod:`retrieval.config.validation` checks the
values, which each field states (:mod:`retrieval.config.knobs`), and how they fit together. Nothing heavy is
imported here, so that ``--help`` and a configuration error answer at once.
"""

from retrieval.config.attack import AttackConfig
from retrieval.config.data import DataConfig
from retrieval.config.evaluation import EvalConfig
from retrieval.config.logger import LoggerConfig
from retrieval.config.model import ModelConfig, model_name
from retrieval.config.schema import Config, SweepConfig, register_schema
from retrieval.config.strategy import (
    DEFAULT_RULES,
    DenoiseConfig,
    HardNegativeConfig,
    PerturbationConfig,
    StrategyConfig,
)
from retrieval.config.train import TrainConfig
from retrieval.config.trainer import TrainerConfig

__all__ = [
    "DEFAULT_RULES",
    "AttackConfig",
    "Config",
    "DataConfig",
    "DenoiseConfig",
    "EvalConfig",
    "HardNegativeConfig",
    "LoggerConfig",
    "ModelConfig",
    "PerturbationConfig",
    "StrategyConfig",
    "SweepConfig",
    "TrainConfig",
    "TrainerConfig",
    "model_name",
    "register_schema",
]
