"""The command line ``python -m sweeps``: builds it from the registry and turns errors into one line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import typer

from retrieval.errors import ParetrieveError
from sweeps.commands import COMMANDS


def build() -> typer.Typer:
    """The application with every registered command."""
    app = typer.Typer(
        name="sweeps",
        help="Scaling laws, Pareto frontier and efficiency of finished sweeps.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, module in COMMANDS.items():
        app.command(name)(importlib.import_module(module).run)
    return app


def _root() -> None:
    """Scaling laws, Pareto frontier and efficiency of finished sweeps."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 not satisfied (``--strict``), 2 bad input."""
    try:
        status = build()(args=arguments, prog_name="python -m sweeps", standalone_mode=True)
    except SystemExit as leaving:
        status = leaving.code
    except ParetrieveError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return status if isinstance(status, int) else 0
