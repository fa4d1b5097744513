"""Perturbations of training inputs; each registers itself."""
