"""Measurement: contrastive entropy, ranking metrics, BM25 and the suite over all test sets."""
