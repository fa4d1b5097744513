"""Collections, their sources, the cache of everything derived from them, and batches."""
