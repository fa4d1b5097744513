"""Options that several commands share, and the one way in which all of them find their runs table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.run.storage import writable_file, writable_folder
from sweeps import Progress

if TYPE_CHECKING:
    import pandas as pd

    from sweeps.fitting.points import Columns
    from sweeps.records import Record
    from sweeps.table.cells import LeftOut
    from sweeps.table.runs import Collected, Skipped, Source

RunsOption = Annotated[Path, typer.Option("--runs", help="Folder of run directories.", metavar="DIR")]
TableOption = Annotated[
    Path | None,
    typer.Option("--table", help="A CSV, JSON-lines or Parquet file instead.", metavar="FILE"),
]
WandbOption = Annotated[
    str | None, typer.Option("--wandb", help="Runs of a W&B project instead.", metavar="ENTITY/PROJECT")
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option("--where", help="Keep rows with COLUMN=VALUE[,VALUE]; repeatable.", metavar="COLUMN=VALUE"),
]


def file(name: str, text: str) -> Any:
    """The option of a file to write; one that cannot be written is refused at once."""
    return typer.Option(name, help=text, metavar="FILE", callback=writable_file)


def folder(name: str, text: str) -> Any:
    """The option of a folder to write to; one that cannot be written to is refused at once."""
    return typer.Option(name, help=text, metavar="DIR", callback=writable_folder)


def _finite(value: float) -> float:
    if value != value or abs(value) == float("inf"):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def above_zero(value: float | None) -> float | None:
    """Callback of an option that takes a positive finite number, or none."""
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value} is not a positive number")
    return value


JsonOption = Annotated[Path, file("--out", "JSON file to write.")]
NColumn = Annotated[str, typer.Option("--n", help="Column of model sizes.", metavar="COL")]
DColumn = Annotated[str, typer.Option("--d", help="Column of training pairs.", metavar="COL")]
SeedColumn = Annotated[
    str, typer.Option("--seed-column", help="Column of seeds (replicates).", metavar="COL")
]
RunColumn = Annotated[
    str, typer.Option("--run-column", help="Column of run names; '' for none.", metavar="COL")
]
DropOption = Annotated[
    bool, typer.Option("--drop-invalid", help="Leave out rows without a positive number; they are named.")
]
LevelOption = Annotated[
    float, typer.Option("--level", min=0.5, max=0.999, help="Level of intervals.", callback=_finite)
]
BootstrapOption = Annotated[int, typer.Option("--bootstrap", min=0, help="Bootstrap replicates.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")]

SIZE = "size/params_non_embedding"
PAIRS = "size/train_pairs"


def load(
    runs: Path, table: Path | None, wandb: str | None, where: list[str] | None
) -> tuple[pd.DataFrame, Source]:
    """The runs table of one source, and which runs it has; skipped ones are named on standard error.

    Raises TableError (exit status 2) on two sources, no finished run, or a bad ``--where``.
    """
    from sweeps.table.runs import Source

    frame = collect(runs, table, wandb, where).frame
    return frame, Source.of(frame, where or ())


def collect(
    runs: Path,
    table: Path | None = None,
    wandb: str | None = None,
    where: list[str] | None = None,
    tell: bool = True,
) -> Collected:
    """:func:`load` with what is left out; ``tell``: whether to name that before anything is refused."""
    from dataclasses import replace

    from sweeps.diagnostics import TableError
    from sweeps.table.cells import clean
    from sweeps.table.families import FAMILY, with_families
    from sweeps.table.files import read_table
    from sweeps.table.runs import Collected, collect_runs, keep_where
    from sweeps.table.wandb_rows import collect_wandb

    if table is not None and wandb is not None:
        raise TableError("--table and --wandb exclude each other; give one source")
    if table is not None:
        collected = Collected(read_table(table))
    else:
        collected = collect_wandb(wandb) if wandb is not None else collect_runs(runs)
    if tell:
        report_skipped(collected.skipped)
    if collected.frame.empty:
        raise TableError(f"{wandb or runs} holds no finished run ({collected.summary()})")
    frame = collected.frame if table is not None else clean(collected.frame)
    if FAMILY in frame:
        frame = with_families(frame)
    return replace(collected, frame=keep_where(frame, where or []))


def report_skipped(skipped: list[Skipped], shown: int = 20) -> None:
    """Name the runs that are not in the table, on standard error."""
    for run in skipped[:shown]:
        typer.echo(f"left out: {run.run}: {run.state} ({run.reason})", err=True)
    if len(skipped) > shown:
        typer.echo(f"left out: {len(skipped) - shown} more", err=True)


def columns_of(table: pd.DataFrame, metrics: Iterable[str], columns: Columns) -> Columns:
    """``columns`` of a command once they are known to fit the table.

    Raises ConfigError where one column has two roles, TableError where a column that was asked for by name is
    not in the table; the usual names of seeds and runs need not be.
    """
    from retrieval.errors import ConfigError
    from sweeps.diagnostics import require_columns
    from sweeps.fitting.points import Columns

    usual = Columns()
    roles = {"--n": columns.n, "--d": columns.d, "--seed-column": columns.seed}
    for metric in metrics:
        for option, name in roles.items():
            if name == metric:
                raise ConfigError(f"{option} {name}: is the metric, too; a column has one role")
    if columns.seed in (columns.n, columns.d):
        raise ConfigError(f"--seed-column {columns.seed}: is a size, too; a column has one role")
    if columns.n == columns.d:
        raise ConfigError(f"--n and --d are both {columns.n}; name the column of each")
    for name, known in ((columns.seed, usual.seed), (columns.run, usual.run)):
        if name and name != known:
            require_columns(table, name)
    return columns


def tell(left_out: Iterable[LeftOut]) -> None:
    """Name rows that a command does not use, on standard error."""
    for rows in left_out:
        typer.echo(f"left out: {rows}", err=True)


def names(text: str) -> tuple[str, ...]:
    """The columns in a comma-separated list."""
    from sweeps.table.families import column_of

    return tuple(column_of(name.strip()) for name in text.split(",") if name.strip())


def two_numbers(option: str, text: str, expected: str) -> tuple[float, float]:
    """The numbers in ``1e8,5e5``; raise ConfigError with what is ``expected`` on anything else."""
    import numpy as np
    import pandas as pd

    from retrieval.errors import ConfigError
    from sweeps.table.cells import numbers

    found = numbers(pd.Series(text.split(","), dtype=object))
    if len(found) != 2 or not np.isfinite(found).all():
        raise ConfigError(f"{option} {text}: expected {expected}")
    return float(found[0]), float(found[1])


def sizes(text: str) -> tuple[float, float]:
    """N and D of ``--predict``; raise ConfigError unless both are positive."""
    from retrieval.errors import ConfigError

    expected = "two positive numbers N,D, such as 85054464,500000"
    n, d = two_numbers("--predict", text, expected)
    if min(n, d) <= 0:
        raise ConfigError(f"--predict {text}: expected {expected}")
    return n, d


def write(out: Path, record: Record, lines: Iterable[str] = ()) -> None:
    """Write a record, then print ``lines`` and where it is."""
    from retrieval.run.files import write_json

    write_json(out, record.to_json())
    for line in lines:
        typer.echo(line)
    typer.echo(f"wrote {out}")


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """A progress bar on standard error; yields ``step(done, total)``."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def step(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield step
