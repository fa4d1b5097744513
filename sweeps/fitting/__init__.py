"""Scaling laws: points of a table, their fit, its intervals and its checks."""
