"""``python -m sweeps retry``: run failed cells again, each with the configuration in its directory."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sweeps.commands import options as shared

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retrieval.run.directory import RunDirectory


def run(runs: shared.RunsOption = Path("runs")) -> None:
    """Run failed and stopped cells here again, from their last checkpoint; exit status 1 if one fails anew.

    A directory whose configuration cannot be read is named and left out; exit status 1 if none is left.
    """
    from retrieval.errors import ConfigError, DataError
    from sweeps.commands.inventory import named, take_inventory
    from sweeps.launch.compose import Composed
    from sweeps.launch.sweep import Options, run_sweep

    cells = take_inventory(runs)
    again = [directory for state in ("failed", "stopped") for directory in named(runs, cells, state)]
    if not again:
        typer.echo("no failed or stopped cell")
        return
    options, composed = Options(), list[Composed]()
    for directory in again:
        try:
            config = stored_config(directory)
        except (ConfigError, DataError) as error:
            typer.echo(f"left out: {error}", err=True)
            continue
        config.trainer.threads = None  # the last sweep's choice, not the user's
        composed.append(Composed(len(composed), [f"run={directory.name}"], config))
    if not composed:
        raise typer.Exit(1)
    folder = runs / ".sweeps" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_retry"
    _, status = run_sweep(composed, options, folder)
    raise typer.Exit(status)


def stored_config(directory: RunDirectory) -> DictConfig:
    """The configuration of ``directory``, checked to describe that very run.

    Raises ConfigError: It has no configuration, or the configuration or the data changed since it was named.
    """
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from retrieval.errors import ConfigError
    from retrieval.opened import Run
    from retrieval.run.directory import with_later_keys

    if not directory.config.is_file():
        raise ConfigError(
            f"{directory.path} has no config.yaml; give its overrides to `python train.py` again"
        )
    try:
        config = OmegaConf.load(directory.config)
        assert isinstance(config, DictConfig)
        with_later_keys(config)
        config.runs = str(directory.path.parent)
        name = Run.open(config).directory.name
    except (AssertionError, YAMLError, OmegaConfBaseException, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{directory.config} is not a run's configuration any more; restore it or delete {directory.path}"
        ) from error
    if name != directory.name:
        raise ConfigError(
            f"{directory.config} now describes {name}: it, the data or the code changed; "
            "give its overrides to `python train.py` again"
        )
    return config
