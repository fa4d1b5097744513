"""Variations of queries, one file each; each registers itself."""
