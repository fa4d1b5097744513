"""Faults are done to the same small runs as the end-to-end tests make."""

from tests.end_to_end.conftest import small

__all__ = ["small"]
