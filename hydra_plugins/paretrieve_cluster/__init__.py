"""Hydra plugins: launchers for clusters."""
