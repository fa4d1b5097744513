"""Mixture laws: how effectiveness and robustness depend on ω at each model size and number of pairs."""
