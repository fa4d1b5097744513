"""Attacks, one file each; each registers itself (docs/extend.md)."""
