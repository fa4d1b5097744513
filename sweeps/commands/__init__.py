"""One module a command. Each has a function ``run`` whose signature is the command line (typer).

Modules are imported to build the command line, so they import numerics and plotting inside ``run``.
"""

from __future__ import annotations

COMMANDS: dict[str, str] = {
    "plan": "sweeps.commands.plan",
    "status": "sweeps.commands.status",
    "retry": "sweeps.commands.retry",
    "rerun": "sweeps.commands.rerun",
    "clean": "sweeps.commands.clean",
    "export": "sweeps.commands.export",
    "collect": "sweeps.commands.collect",
    "fit": "sweeps.commands.fit",
    "frontier": "sweeps.commands.frontier",
    "mixture": "sweeps.commands.mixture",
    "efficiency": "sweeps.commands.efficiency",
    "compare": "sweeps.commands.compare",
    "report": "sweeps.commands.report",
    "dashboard": "sweeps.commands.dashboard",
    "sensitivity": "sweeps.commands.sensitivity",
    "allocate": "sweeps.commands.allocate",
}
"""Command name -> module, in the order of ``python -m sweeps --help``."""
