"""Reads many finished runs and says how retrieval effectiveness and robustness scale; never trains."""

PROGRAM = "python -m sweeps"
"""The command line, as messages name it."""
