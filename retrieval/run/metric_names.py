"""Names of metrics that the run directory and its mirrors share."""

REFERENCES = ("bm25", "untrained")
"""Reference rows that stand beside a run's metrics; their names are the first part of their keys."""
