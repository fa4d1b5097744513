"""The Pareto frontier of runs: its points, its knee and its hypervolume."""
