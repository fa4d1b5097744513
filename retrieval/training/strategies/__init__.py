"""Optimisation strategies; each registers itself (docs/extend.md)."""
