"""Statistics over per-query scores that separate what a model does from what a test collection does."""
