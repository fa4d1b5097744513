"""Reads many finished runs and says how retrieval effectiveness and robustness scale; never trains."""
