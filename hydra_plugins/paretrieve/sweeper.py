"""Hydra sweeper: all combinations, or the cells of a file crossed with them."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobStatus


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper with ``sweep.cells``; leaves the composition of cells to a launcher of ours."""

    def sweep(self, arguments: list[str]) -> Any:
        """Launch all batches; raises ``SystemExit(1)`` after the last if a cell failed in any.

        Hydra's sweeper would start no further batch after one with a failed cell.

        Raises:
            ConfigError: The launcher is none of ours; Hydra's basic one would run one cell after another
                without estimate, status and retry.
        """
        if not getattr(self.launcher, "composes", False):
            from retrieval.errors import ConfigError

            assert self.config is not None
            chosen = self.config.hydra.runtime.choices["hydra/launcher"]
            raise ConfigError(
                f"hydra/launcher={chosen} cannot run sweeps of this project; valid: local, submitit_local, "
                "submitit_slurm, ray"
            )
        self.launcher.raises = False  # type: ignore[union-attr]
        returns = super().sweep(arguments)
        if any(job.status is not JobStatus.COMPLETED for batch in returns for job in batch):
            raise SystemExit(1)
        return returns

    def split_arguments(  # type: ignore[override]
        self, overrides: Sequence[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """The overrides of every job, in batches; raises ``ConfigError`` for a file that is not right."""
        from sweeps.launch.grid import jobs

        assert self.config is not None
        path, where = self.config.sweep.cells, self.config.sweep.where
        swept = len(self.params)
        found = jobs(overrides[:swept], overrides[swept:], path)
        if where is not None and max_batch_size is not None:
            found = self.launcher.keep(found)  # type: ignore[union-attr]  # before the cut: no batch is empty
        return list(self.split_overrides_to_chunks(found, max_batch_size))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Do nothing: composing every job in advance, as Hydra does, takes as long as all else together."""
