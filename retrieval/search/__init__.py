"""All that ranks texts: BM25, exact top-k search, foreign encoders, mining and teachers."""
