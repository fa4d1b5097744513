"""The robustness card of a model: all that was measured on one page; and two cards compared."""
