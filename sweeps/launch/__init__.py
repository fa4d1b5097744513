"""Makes many runs: the grid, the plan, the scheduler, its processes, and tasks of Slurm and Ray."""
