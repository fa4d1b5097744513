"""``python -m benchmarks.same``: two commits, the same small cells, every loss and metric to the bit."""
