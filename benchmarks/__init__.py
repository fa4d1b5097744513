"""Speed side by side with sentence-transformers and beir, as ratios within one run."""
