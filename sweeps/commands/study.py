"""``python -m sweeps study``: the sweeps of a study in their order, its table, its analyses and its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands import options as shared

if TYPE_CHECKING:
    from sweeps.study.places import Places
    from sweeps.study.spec import Scale, Study

SMOKE, LAPTOP = "smoke", "laptop"

NO_WAIT = "hydra.launcher.wait=false"

CollectionsOption = Annotated[
    Path | None,
    typer.Option("--collections", help="Folder of BEIR folders, for studies that need it.", metavar="DIR"),
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(help="After --: overrides of train.py for every stage.", metavar="OVERRIDES"),
]
ScaleOption = Annotated[
    str | None,
    typer.Option(
        "--scale",
        help="smoke, laptop or gpu. Default: smoke; with --table: laptop, where there is one.",
        metavar="NAME",
    ),
]
StageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stage",
        help="Plan and run this stage alone; repeatable. Table and page are made without it.",
        metavar="NAME",
    ),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        "--resume-from",
        help="Results of the same study from elsewhere: runs in their table are not run again.",
        metavar="DIR",
    ),
]


def run(
    name: Annotated[str, typer.Argument(help="A file of conf/study/.", metavar="NAME", show_default=False)],
    overrides: OverridesArgument = None,
    scale: ScaleOption = None,
    runs: Annotated[
        Path | None,
        shared.folder("--runs", "Folder of run directories. Default: studies/NAME-SCALE/runs."),
    ] = None,
    out: Annotated[
        Path | None,
        shared.folder("--out", "Folder for table and page. Default: studies/NAME-SCALE/results."),
    ] = None,
    table: shared.TableOption = None,
    collections: CollectionsOption = None,
    resume_from: ResumeOption = None,
    stage: StageOption = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the plan and run nothing.")] = False,
    data: Annotated[
        bool, typer.Option("--data/--no-data", help="Read the data for the plan, preparing what is missing.")
    ] = False,
    train: Annotated[
        bool, typer.Option("--train/--no-train", help="Run the stages, or read what is done already.")
    ] = True,
) -> None:
    """Run a study: its plan, its sweeps, one table of all runs, the analyses, one page."""
    from retrieval.errors import ConfigError
    from sweeps.study.places import TABLE, Places
    from sweeps.study.spec import load

    study = load(name)
    if table is not None:
        if plan or overrides or any(each is not None for each in (runs, collections, resume_from, stage)):
            raise ConfigError(
                "--table reads runs that are done: drop --plan, --runs, --resume-from, --collections, "
                "--stage and overrides"
            )
        raise typer.Exit(_again(study, scale, table, out or table.parent))
    _check(stage or [], overrides or [], plan, train)
    whole = study.scale(scale or SMOKE)
    chosen = whole.only(stage or ())
    base = Path("studies") / f"{study.name}-{chosen.name}"
    out = out or base / "results"
    places = Places(runs or base / "runs", out, out / TABLE, collections)
    places.check(study, chosen)
    if resume_from is not None:
        from sweeps.study.restore import restore

        typer.echo(restore(resume_from, places))
    if stage and not plan:
        from sweeps.study.chosen import check_chosen

        check_chosen(study, whole, chosen, places, overrides or [])
    status = _stages(study, chosen, places, overrides or [], (plan, data, train))
    if status or plan:
        raise typer.Exit(status)
    if stage:
        typer.echo("table and page are made by the same command with --no-train in place of --stage")
        return
    raise typer.Exit(_results(study, chosen, places))


def _check(stages: Sequence[str], overrides: Sequence[str], plan: bool, train: bool) -> None:
    """Refuse stages that nothing runs, and runs that nobody waits for before they are read."""
    from retrieval.errors import ConfigError

    if stages and not train:
        raise ConfigError("--stage runs a stage and --no-train runs none: drop one of them")
    left = [word for word in overrides if word.lstrip("+").replace(" ", "").lower() == NO_WAIT]
    if left and train and not plan and len(stages) != 1:
        raise ConfigError(
            f"{left[0]} leaves runs in the queue, which the next stage or the table would read; "
            "name one stage with --stage NAME, or drop it"
        )


def _again(study: Study, scale: str | None, table: Path, out: Path) -> int:
    """Analyse a table whose runs are done; the exit status."""
    from sweeps.study.places import Places
    from sweeps.study.run import analyse
    from sweeps.table.files import read_table

    read_table(table)  # what is wrong with it is said once, and not by every command
    known = LAPTOP if scale is None and LAPTOP in study.scales else scale
    name = study.scale(known).name if known else None
    return analyse(study, name, Places(Path("runs"), out, table), typer.echo)


def _stages(
    study: Study, scale: Scale, places: Places, overrides: list[str], asked: tuple[bool, bool, bool]
) -> int:
    """Plan and run as far as asked for (plan alone, with data, stages); the exit status."""
    plan, data, train = asked
    from sweeps.study.run import run_stages

    if plan or train:
        from sweeps.study.plan import plan_study

        with shared.progress_bar("planning the stages") as step:
            planned = plan_study(study, scale, places, overrides, data, step)
        for line in planned.lines(study, scale):
            typer.echo(line)
    return run_stages(scale, places, overrides, typer.echo) if train and not plan else 0


def _results(study: Study, scale: Scale, places: Places) -> int:
    """Collect the runs and analyse them; the exit status."""
    from sweeps.study.run import analyse, collect_runs

    collect_runs(places, typer.echo)
    return analyse(study, scale.name, places, typer.echo)
