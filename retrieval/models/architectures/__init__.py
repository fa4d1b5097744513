"""Architectures that are made from scratch, one file each; each registers itself."""
