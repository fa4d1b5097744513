"""Substitution of words: the parts of the attack ``wsra``."""
