"""Measurement: contrastive entropy, ranking metrics, BM25 and the suite over all test sets."""

REFERENCES = ("bm25", "untrained")
"""Reference rows that stand beside a run's metrics; their names are the first part of their keys."""
