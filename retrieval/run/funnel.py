"""The end of every command: what a person can mend is one line and an exit status, a bug a traceback.

Exit statuses: 0 done, 1 failed, 2 bad configuration or input, 130 interrupted. ``HYDRA_FULL_ERROR=1`` in the
environment shows the traceback of every error. Nothing heavy is imported before there is an error to explain.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from retrieval.errors import ConfigError, ParetrieveError

if TYPE_CHECKING:
    import typer

INTERRUPTED = 130

_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"
"""What the person asked for: ``train.py`` sets the variable afterwards, for Hydra to raise its errors."""


def exit_status(body: Callable[[], object]) -> int:
    """Run ``body`` and return the exit status: the integer it returns or exits with, or that of its error."""
    try:
        found = body()
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # all is done: that nobody reads to the end is no failure
            _silence()
        return found if isinstance(found, int) else 0
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except (KeyboardInterrupt, Exception) as error:
        if not _interrupted(error):
            return _told(error)
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def command_status(build: Callable[[], typer.Typer], arguments: Sequence[str] | None, name: str) -> int:
    """Run the command line that ``build`` makes; the exit status, with usage errors in one line, too."""
    return exit_status(lambda: _invoke(build, sys.argv[1:] if arguments is None else arguments, name))


def _invoke(build: Callable[[], typer.Typer], arguments: Sequence[str], name: str) -> int:
    import typer

    try:
        command = typer.main.get_command(build())
        with command.make_context(name, list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as leaving:
        return leaving.exit_code
    except typer.Abort as leaving:  # a question that got Ctrl-C or the end of the input for an answer
        if isinstance(leaving.__context__, EOFError):
            raise ParetrieveError("the question got no answer; nothing was done") from None
        raise KeyboardInterrupt from None
    except Exception as error:
        if not hasattr(
            error, "format_message"
        ):  # what all usage errors have, wherever typer keeps their class
            raise
        raise ConfigError(f"{error.format_message().rstrip('.')}; see {name} --help") from None
    return 0


def _interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is at the bottom of an error: a module that is loading turns it into one of its own."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _told(error: BaseException) -> int:
    """Print the line for ``error`` and return its exit status; raise it when its traceback is what helps."""
    from retrieval.run.messages import explain, is_input

    message = None if _TRACEBACKS else explain(error)
    if message is None:
        raise error
    with contextlib.suppress(BrokenPipeError):
        print("error:", " ".join(message.splitlines()), file=sys.stderr)
    if isinstance(error, BrokenPipeError):
        _silence()
    return 2 if is_input(error) else 1


def _silence() -> None:
    """Send what is still to be printed nowhere: Python would complain about it on its way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
