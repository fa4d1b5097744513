"""Hydra finds plugins below the namespace package ``hydra_plugins``; the work is in ``sweeps.launch``."""
