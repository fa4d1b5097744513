"""Running the cells of a sweep on this machine, one clean process each."""
