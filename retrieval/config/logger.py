"""Group ``logger``: the mirror of a run directory in Weights & Biases."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.config.knobs import knob


@dataclass
class LoggerConfig:
    """Mirror of the run directory; the run directory stays the source of truth."""

    name: str = knob("wandb", "Mirror; logger=NAME sets it.", choices=("wandb", "none"))
    project: str = knob("paretrieve", "W&B project.")
    group: str | None = knob(None, "W&B group; null: one a sweep.")
    tags: list[str] = knob([], "W&B tags.")
    timeout: int = knob(10, "Seconds to wait for the W&B server before the run is logged offline.", above=0)
