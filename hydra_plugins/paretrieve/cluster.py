"""Hydra launchers that hand the cells of a sweep to a cluster."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_plugins.paretrieve.launcher import CellLauncher

if TYPE_CHECKING:
    from sweeps.launch.cells import Cell, SweepRecord
    from sweeps.launch.compose import Composed


class ClusterLauncher(CellLauncher):
    """Splits the launcher's options into those of every task's scheduler and those of the cluster."""

    def run(self, jobs: Sequence[Composed], folder: Path) -> tuple[Sequence[Cell], int]:
        """See :func:`sweeps.launch.sweep.run_sweep`; the cells run elsewhere."""
        from sweeps.launch.options import split
        from sweeps.launch.sweep import Options, run_sweep

        run, kind = self.cluster()
        own, rest = split(self._options, Options, kind)
        options = Options(**own)
        given = kind(**rest, environment=jobs[0].environment)
        self._check_wait(getattr(given, "wait", True))

        def elsewhere(waiting: Sequence[Cell], record: SweepRecord, cells: Sequence[Cell]) -> bool:
            return run(waiting, record, cells, options, given)

        return run_sweep(jobs, options, folder, runner=elsewhere)

    def _check_wait(self, wait: bool) -> None:
        """Refuse to leave after the first of several batches, which ends Hydra; raises ``ConfigError``."""
        from retrieval.errors import ConfigError

        assert self._config is not None
        size = self._config.hydra.sweeper.get("max_batch_size")
        if not wait and size is not None:
            raise ConfigError(
                f"hydra.launcher.wait=false with hydra.sweeper.max_batch_size={size} would submit the first "
                "batch alone; drop one of them"
            )

    @abstractmethod
    def cluster(self) -> tuple[Callable[..., bool], Callable[..., Any]]:
        """What runs the waiting cells, and the class of its options."""


class SubmititLauncher(ClusterLauncher):
    """Slurm job arrays, or local processes in their place."""

    def cluster(self) -> tuple[Callable[..., bool], Callable[..., Any]]:
        """See :func:`sweeps.launch.clusters.run_batch`."""
        from sweeps.launch.clusters import BatchOptions, run_batch

        return run_batch, BatchOptions


class RayLauncher(ClusterLauncher):
    """Tasks of a Ray cluster."""

    def cluster(self) -> tuple[Callable[..., bool], Callable[..., Any]]:
        """See :func:`sweeps.launch.clusters.run_on_ray`."""
        from sweeps.launch.clusters import RayOptions, run_on_ray

        return run_on_ray, RayOptions
