"""Group ``logger``: the mirror of a run directory in Weights & Biases."""

from dataclasses import dataclass

from retrieval.config.knobs import knob


@dataclass
class LoggerConfig:
    """Mirror of the run directory; the run directory stays the source of truth."""

    name: str = knob("wandb", "Mirror; logger=NAME sets it.", choices=("wandb", "none"))
    project: str | None = knob(
        None, "W&B project; null: that of WANDB_PROJECT or of W&B's settings file, else paretrieve."
    )
    group: str | None = knob(None, "W&B group; null: WANDB_RUN_GROUP, else one a sweep.")
    tags: list[str] = knob([], "W&B tags; none: those of WANDB_TAGS.")
    timeout: int = knob(10, "Seconds to wait for the W&B server before the run is logged offline.", above=0)
