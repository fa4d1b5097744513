"""The command line ``python -m sweeps``: builds it from the registry."""

import importlib
import sys
from collections.abc import Sequence

import typer

from retrieval.run.funnel import command_status
from retrieval.run.waiting import wait_asleep
from sweeps import PROGRAM
from sweeps.commands import COMMANDS


def build() -> typer.Typer:
    """The application with every registered command."""
    app = typer.Typer(
        name="sweeps",
        help="Scaling laws, Pareto frontier and efficiency of finished sweeps.",
        add_completion=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in COMMANDS:
        app.command(name)(importlib.import_module(f"sweeps.commands.{name}").run)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed or not satisfied, 2 bad input."""
    wait_asleep()
    given = sys.argv[1:] if arguments is None else arguments
    return command_status(build, given or ["--help"], PROGRAM)
