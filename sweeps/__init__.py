"""Reads many finished runs and says how retrieval effectiveness and robustness scale; never trains."""

from collections.abc import Callable

PROGRAM = "python -m sweeps"
"""The command line, as messages name it."""

Progress = Callable[[int, int], None]
"""What is called with (done, total) as work goes on."""
