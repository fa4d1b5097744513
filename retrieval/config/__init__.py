"""The typed schema of everything in ``conf/``, one module a group.

Hydra checks types and key names against these dataclasses; :mod:`retrieval.config.validation` checks the
values, which each field states (:mod:`retrieval.config.knobs`), and how they fit together. Nothing heavy is
imported here, so that ``--help`` and a configuration error answer at once.
"""

from retrieval.config.attack import AttackConfig as AttackConfig
from retrieval.config.data import DataConfig as DataConfig
from retrieval.config.evaluation import EvalConfig as EvalConfig
from retrieval.config.logger import LoggerConfig as LoggerConfig
from retrieval.config.model import ModelConfig as ModelConfig
from retrieval.config.model import model_name as model_name
from retrieval.config.schema import Config as Config
from retrieval.config.schema import SweepConfig as SweepConfig
from retrieval.config.schema import register_schema as register_schema
from retrieval.config.strategy import DEFAULT_RULES as DEFAULT_RULES
from retrieval.config.strategy import DenoiseConfig as DenoiseConfig
from retrieval.config.strategy import HardNegativeConfig as HardNegativeConfig
from retrieval.config.strategy import PerturbationConfig as PerturbationConfig
from retrieval.config.strategy import StrategyConfig as StrategyConfig
from retrieval.config.train import TrainConfig as TrainConfig
from retrieval.config.trainer import TrainerConfig as TrainerConfig
