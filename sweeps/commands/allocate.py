"""``python -m sweeps allocate``: the model size and the pairs that a budget is best spent on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands import options as shared

if TYPE_CHECKING:
    from sweeps.fitting.allocation import Allocation


def run(
    budget: Annotated[list[float], typer.Option("--budget", help="Money to spend; repeatable.")],
    annotation: Annotated[float, typer.Option("--annotation", help="Price of a training pair.")],
    fit: Annotated[
        Path, typer.Option("--fit", help="Record of a joint or additive fit.", metavar="FILE")
    ] = Path("fit.json"),
    training: Annotated[
        float, typer.Option("--training", help="Price per parameter of a training of fixed length.")
    ] = 0.0,
    inference: Annotated[
        float, typer.Option("--inference", help="Price per parameter of encoding over the model's life.")
    ] = 0.0,
    training_per_pair: Annotated[
        float,
        typer.Option("--training-per-pair", help="Price per parameter and pair, if training grows with D."),
    ] = 0.0,
    out: Annotated[Path | None, shared.file("--out", "JSON file to write.")] = None,
) -> None:
    """Find the N and D that minimise a fitted law at a budget, with intervals from its bootstrap."""
    from sweeps.fitting.allocation import AllocationFile, CostModel, allocate
    from sweeps.fitting.groups import FitFile
    from sweeps.fitting.present import describe_warnings, number

    costs = CostModel(annotation, training, inference, training_per_pair)
    found: dict[str, list[Allocation]] = {}
    for name, result in FitFile.load(fit).groups.items():
        found[name] = []
        for amount in budget:
            best = allocate(result, costs, amount)
            found[name].append(best)
            prefix = f"[{name}] budget {number(amount)}:"
            if best.reason:
                typer.echo(f"{prefix} {best.reason}")
                continue
            parts = [("N", best.n, best.n_interval), ("D", best.d, best.d_interval)]
            parts.append((result.metric, best.value, best.value_interval))
            shown = [
                f"{what} = {number(value)}" + (f" ({number(ends[0])} … {number(ends[1])})" if ends else "")
                for what, value, ends in parts
            ]
            typer.echo(f"{prefix} {', '.join(shown)}; interior in {best.interior:.0%} of replicates")
            typer.echo("\n".join(describe_warnings(best.warnings, indent="  ")), nl=bool(best.warnings))
    if out is not None:
        shared.write(out, AllocationFile(costs, found))
