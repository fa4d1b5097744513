"""Faults are done to the same small runs as the end-to-end tests make."""

from tests.end_to_end.conftest import cache, small

__all__ = ["cache", "small"]
