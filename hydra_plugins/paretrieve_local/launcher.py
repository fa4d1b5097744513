"""Hydra launcher that runs every cell of a sweep in its own process on this machine."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict


class CellReturn(JobReturn):
    """Outcome of a cell; the closing table has told of a failure, so reading it exits without a word."""

    @property
    def return_value(self) -> Any:
        """The result, or ``SystemExit(1)`` raised."""
        if self.status is not JobStatus.COMPLETED:
            raise SystemExit(1)
        return self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


class LocalLauncher(Launcher):
    """Thin: composes the cells and hands them to :func:`retrieval.launch.sweep.run_sweep`."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._config: DictConfig | None = None
        self._context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before :meth:`launch`; the task function is for single runs only."""
        self._context, self._config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; raises ``ConfigError`` before any starts, ``SystemExit(130)`` when interrupted."""
        # Hydra imports every plugin at every start, `--help` included: what is not needed there waits.
        from retrieval.launch.sweep import INTERRUPTED, Options, run_sweep

        assert self._config is not None
        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        jobs = [
            self._compose(list(overrides), initial_job_idx + n) for n, overrides in enumerate(job_overrides)
        ]
        cells, status = run_sweep(
            [composed for composed, _ in jobs],
            Options(**self._options),
            Path(str(self._config.hydra.sweep.dir)),
        )
        if status == INTERRUPTED:
            raise SystemExit(status)
        return [_job_return(cell, hydra) for cell, (_, hydra) in zip(cells, jobs, strict=True)]

    def _compose(self, overrides: list[str], number: int) -> tuple[Any, DictConfig]:
        from retrieval.launch.sweep import Composed

        assert self._context is not None
        assert self._config is not None
        config = self._context.config_loader.load_sweep_config(self._config, overrides)
        with open_dict(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
        HydraConfig.instance().set_config(config)  # interpolations of ${hydra:…} refer to this job
        hydra = DictConfig({"hydra": copy.deepcopy(config.hydra)})
        environment = {str(name): str(value) for name, value in config.hydra.job.env_set.items()}
        task = copy.deepcopy(config)
        with open_dict(task):
            del task["hydra"]
        OmegaConf.resolve(task)
        return Composed(number, filter_overrides(overrides), task, environment), hydra


def _job_return(cell: Any, hydra: DictConfig) -> JobReturn:
    done = cell.state == "done"
    job = CellReturn(
        overrides=list(cell.overrides),
        cfg=cell.config,
        hydra_cfg=hydra,
        working_dir=str(Path.cwd()),
        task_name=str(hydra.hydra.job.name),
        status=JobStatus.COMPLETED if done else JobStatus.FAILED,
    )
    job.return_value = cell.result if done else cell.error
    return job
