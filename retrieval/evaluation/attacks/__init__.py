"""Word-substitution ranking attack: the parts behind :mod:`retrieval.evaluation.attack`."""
