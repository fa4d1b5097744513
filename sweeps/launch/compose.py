"""Composes the cells of a sweep: as Hydra would, without going through its files for every one."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.utils import filter_overrides
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict
from omegaconf.errors import OmegaConfBaseException

from retrieval.config import register_schema
from retrieval.errors import ConfigError
from retrieval.run.messages import explain, prepared
from sweeps.launch.facts import facts
from sweeps.launch.grid import Where, jobs

CONF = Path(__file__).resolve().parents[2] / "conf"
"""The configuration files of ``train.py``."""


@dataclass(frozen=True)
class Composed:
    """One configuration of the sweep as Hydra composes it."""

    index: int
    overrides: Sequence[str]
    config: DictConfig
    """Resolved, without the ``hydra`` node."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of ``hydra.job.env_set``."""
    hydra: DictConfig | None = None
    """The ``hydra`` node, shared by cells that differ in values only."""


class Composer:
    """Composes one cell after another.

    Reading and merging the files takes Hydra some 0.1-0.2 s a cell. Cells that choose the same files differ
    in single values only: these are set on a copy of their common composition, in milliseconds.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        """``master``: the sweep's own configuration, as Hydra hands it to a launcher."""
        self._loader, self._master = loader, master
        parser = OverridesParser.create(config_loader=loader)
        self._parse = cache(lambda override: parser.parse_overrides([override])[0])
        # The loader itself copies what it holds of all files for every question.
        repository = loader.repository if isinstance(loader, ConfigLoaderImpl) else loader
        self._options_of_group = cache(repository.get_group_options)
        self._base = cache(self._composed)

    def __call__(self, overrides: Sequence[str], number: int) -> Composed:
        """The cell of ``overrides``, Hydra's job ``number``.

        Raises HydraException, OmegaConfBaseException: as Hydra's own composition does.
        """
        parsed = [self._parse(override) for override in overrides]
        values = [override for override in parsed if self._sets_a_value(override)]
        whole, shared = self._base(tuple(str(o.input_line) for o in parsed if o not in values))
        if whole.hydra.job.env_set:  # may refer to the values that are set below
            (whole, shared), values = self._base(tuple(overrides)), []
        with flag_override(whole.hydra, ["struct", "readonly"], False):
            whole.hydra.job.id, whole.hydra.job.num = str(number), number
        HydraConfig.instance().set_config(whole)  # interpolations of ${hydra:…} refer to this job
        environment = {str(name): str(value) for name, value in whole.hydra.job.env_set.items()}
        task = copy.deepcopy(shared)
        try:
            for override in values:
                OmegaConf.update(task, override.key_or_group, override.value(), merge=True)
        except OmegaConfBaseException:
            self._load(overrides)  # raises the error in Hydra's words
            raise
        OmegaConf.resolve(task)
        hydra = whole._get_node("hydra")
        assert isinstance(hydra, DictConfig)
        return Composed(number, filter_overrides(list(overrides)), task, environment, hydra)

    def _sets_a_value(self, override: Override) -> bool:
        """Whether the override changes one existing value and no choice of files."""
        key = override.key_or_group
        if override.type != OverrideType.CHANGE or override.package is not None:
            return False
        return not self._options_of_group(key) and not key.startswith(("hydra.", "sweep."))

    def _composed(self, overrides: tuple[str, ...]) -> tuple[DictConfig, DictConfig]:
        """The whole configuration, and what cells with the same choice of files share of it."""
        whole = self._load(overrides)
        task = copy.deepcopy(whole)
        with open_dict(task):
            del task["hydra"]
        for name in task.get("sweep") or ():
            task.sweep[name] = None  # chose this cell among others and says nothing about it
        return whole, task

    def _load(self, overrides: Sequence[str]) -> DictConfig:
        return self._loader.load_sweep_config(self._master, list(overrides))


def compose_cells(
    loader: ConfigLoader, master: DictConfig, cells: Sequence[Sequence[str]], first: int = 0
) -> list[Composed]:
    """The cells (given by their overrides) that ``sweep.where`` keeps, numbered from ``first``.

    Raises ConfigError: ``sweep.where`` cannot be read, or keeps no cell; HydraException,
    OmegaConfBaseException: a cell cannot be composed.
    """
    compose = Composer(loader, master)
    composed = [compose(overrides, first + number) for number, overrides in enumerate(cells)]
    expression = (master.get("sweep") or {}).get("where")
    if expression is None:
        return composed
    where = Where(str(expression))
    kept = [cell for cell in composed if where(facts(cell.config))]
    if not kept:
        raise ConfigError(f"sweep.where={expression} keeps none of {len(composed)} cells; loosen it")
    return kept


def compose_command(arguments: Sequence[str], conf: Path = CONF) -> list[Composed]:
    """The cells that ``python train.py -m <arguments>`` would run.

    Raises ConfigError: as :func:`compose_cells`; Hydra's errors are put in these words.
    """
    register_schema()
    try:
        with initialize_config_dir(str(conf), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            master = loader.load_configuration("config", [*map(prepared, arguments)], RunMode.MULTIRUN)
            parser = OverridesParser.create(config_loader=loader)
            swept = master.hydra.sweeper.get("params") or {}
            params = parser.parse_overrides([f"{key}={value}" for key, value in swept.items()])
            given = parser.parse_overrides(list(master.hydra.overrides.task))
            return compose_cells(loader, master, jobs(params, given, master.sweep.cells))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error) or str(error)) from error
