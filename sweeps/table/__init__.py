"""The table of runs: one row a run, from run directories, from a file or from W&B."""
