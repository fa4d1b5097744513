"""One module a command. Each has a function ``run`` whose signature is the command line (typer).

Modules are imported to build the command line, so they import numerics and plotting inside ``run``.
"""

COMMANDS = (
    *("study", "plan", "status", "retry", "rerun", "clean", "export", "collect"),
    *("fit", "frontier", "mixture", "efficiency", "compare", "families", "domains", "alignment"),
    *("robustness", "transfer"),
    *("report", "dashboard", "sensitivity", "allocate"),
)
"""Names of the commands and of their modules, in the order of ``python -m sweeps --help``."""
