"""Perturbations of training inputs, one file each; each registers itself."""
