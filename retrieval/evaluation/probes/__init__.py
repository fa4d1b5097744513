"""Bias probes, one file each; each registers itself."""
