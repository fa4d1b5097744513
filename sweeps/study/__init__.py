"""A study: sweeps in an order, one table of their runs, and commands that read it. See docs/study.md."""
