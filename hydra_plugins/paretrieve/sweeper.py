"""Hydra sweeper: all combinations, or the cells of a file crossed with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobStatus


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper with ``sweep.cells``; leaves the composition of cells to a launcher of ours."""

    def sweep(self, arguments: list[str]) -> Any:
        """Launch all batches; raises ``SystemExit(1)`` after the last if a cell of ours failed in any.

        Hydra's sweeper would start no further batch after one with a failed cell.
        """
        if not self._launcher_composes:
            return super().sweep(arguments)
        self.launcher.raises = False  # type: ignore[union-attr]
        returns = super().sweep(arguments)
        if any(job.status is not JobStatus.COMPLETED for batch in returns for job in batch):
            raise SystemExit(1)
        return returns

    def split_arguments(  # type: ignore[override]
        self, overrides: Sequence[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """The overrides of every job, in batches; raises ``ConfigError`` for a file that is not right."""
        from retrieval.errors import ConfigError
        from sweeps.launch.grid import jobs

        assert self.config is not None
        path, where = self.config.sweep.cells, self.config.sweep.where
        if where is not None and not self._launcher_composes:
            raise ConfigError(
                "sweep.where is not known to this hydra/launcher; use local, submitit_local, submitit_slurm "
                "or ray"
            )
        swept = len(self.params)
        found = jobs(overrides[:swept], overrides[swept:], path)
        if where is not None and max_batch_size is not None:
            found = self.launcher.keep(found)  # type: ignore[union-attr]  # before the cut: no batch is empty
        return list(self.split_overrides_to_chunks(found, max_batch_size))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose every job in advance for launchers that do not: it takes as long as all else together."""
        if not self._launcher_composes:
            super().validate_batch_is_legal(batch)

    @property
    def _launcher_composes(self) -> bool:
        return bool(getattr(self.launcher, "composes", False))
