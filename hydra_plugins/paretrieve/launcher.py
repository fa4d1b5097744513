"""Hydra launchers: one composition of every cell, then whatever runs them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from sweeps.launch.cells import Cell
    from sweeps.launch.compose import Composed


class CellReturn(JobReturn):
    """Outcome of a cell; the closing table has told of a failure, so reading it exits without a word."""

    raises = True

    @property
    def return_value(self) -> Any:
        """The result; of a cell that failed ``SystemExit(1)`` raised, or the error where not ``raises``."""
        if self.raises and self.status is not JobStatus.COMPLETED:
            raise SystemExit(1)
        return self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


class CellLauncher(Launcher):
    """Composes the cells and hands them over; what runs them is :meth:`run`."""

    composes = True
    """Whether cells are composed here, once, and filtered by ``sweep.where``."""

    raises = True
    """Whether reading the outcome of a failed cell exits; a sweeper with several batches looks itself."""

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
        from sweeps.launch.compose import compose_cells
        from sweeps.launch.sweep import INTERRUPTED

        assert self._config is not None
        assert self._context is not None
        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        jobs = compose_cells(self._context.config_loader, self._config, job_overrides, initial_job_idx)
        cells, status = self.run(jobs, Path(str(self._config.hydra.sweep.dir)))
        if status == INTERRUPTED or (status and self._config.get("fail_fast")):
            raise SystemExit(status)
        return [_job_return(cell, job.hydra, self.raises) for cell, job in zip(cells, jobs, strict=True)]

    def keep(self, job_overrides: Sequence[Sequence[str]]) -> list[list[str]]:
        """Those jobs of a sweep that ``sweep.where`` keeps; raises ``ConfigError`` where it keeps none."""
        from sweeps.launch.compose import compose_cells

        assert self._config is not None
        assert self._context is not None
        setup_globals()
        kept = compose_cells(self._context.config_loader, self._config, job_overrides)
        return [list(job_overrides[cell.index]) for cell in kept]

    @abstractmethod
    def run(self, jobs: Sequence[Composed], folder: Path) -> tuple[Sequence[Cell], int]:
        """Run ``jobs``, recorded in ``folder``: the cells in the same order, and the exit status."""


class LocalLauncher(CellLauncher):
    """Every cell in its own process on this machine."""

    def run(self, jobs: Sequence[Composed], folder: Path) -> tuple[Sequence[Cell], int]:
        """See :func:`sweeps.launch.sweep.run_sweep`."""
        from sweeps.launch.options import split
        from sweeps.launch.sweep import Options, run_sweep

        (own,) = split(self._options, Options)
        return run_sweep(jobs, Options(**own), folder)


def _job_return(cell: Cell, hydra: DictConfig | None, raises: bool) -> JobReturn:
    assert hydra is not None
    done = cell.state == "done"
    job = CellReturn(
        overrides=list(cell.overrides),
        cfg=cell.config,
        hydra_cfg=DictConfig({"hydra": hydra}),
        working_dir=str(Path.cwd()),
        task_name=str(hydra.job.name),
        status=JobStatus.COMPLETED if done else JobStatus.FAILED,
    )
    job.raises = raises
    job.return_value = cell.result if done else cell.error
    return job
