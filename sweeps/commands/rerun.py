"""``python -m sweeps rerun``: a run once more from its own record, and whether it gives the same numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sweeps.commands import options as shared

NOT_MEASURED = ("cost/", "run")
"""Beginnings of the keys of a result that differ from one execution to the next."""


def run(
    directory: Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN", show_default=False)],
    out: Annotated[Path, shared.folder("--out", "Folder of run directories to write to.")] = Path("reruns"),
) -> None:
    """Run RUN again from its config.yaml, elsewhere; exit status 1 if a measured number differs."""
    from retrieval.errors import ConfigError
    from retrieval.run.directory import RunDirectory
    from retrieval.run_one import run_single
    from sweeps.commands.retry import stored_config

    before = RunDirectory(directory.resolve())
    config = stored_config(before)
    if out.resolve() == before.path.parent:
        raise ConfigError(f"--out {out} holds the run itself; name another folder")
    config.runs = str(out)
    config.logger.name = "none"  # its W&B run is that of the first execution
    for line in other_code(before):
        typer.echo(f"note: {line}", err=True)
    run_single(config)
    expected = before.finished()
    if expected is None:
        typer.echo(f"{before.path} has no result to compare with")
        return
    found = RunDirectory(out / before.name).finished() or {}
    different = differences(expected, found)
    for key, (old, new) in different.items():
        typer.echo(f"{key}: {old} before, {new} now")
    typer.echo(f"{len(different)} of {len(measured(expected))} values differ from {before.path}")
    raise typer.Exit(int(bool(different)))


def other_code(before: Any) -> list[str]:
    """What is not as it was when the run was made: commit, changes, versions."""
    from retrieval.run.files import read_json
    from retrieval.run.manifest import CODE, manifest

    recorded, present = read_json(before.path / "manifest.json") or {}, manifest()
    return [
        f"{key} was {recorded.get(key)}, is {present[key]}"
        for key in CODE
        if recorded.get(key) != present[key]
    ]


def measured(result: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a result that an exact repetition must give again."""
    return {key: value for key, value in result.items() if not key.startswith(NOT_MEASURED)}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Measured values that differ, by key."""
    old, new = measured(before), measured(after)
    return {key: (old.get(key), new.get(key)) for key in sorted({*old, *new}) if old.get(key) != new.get(key)}
