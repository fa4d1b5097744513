"""Takes up a study where only its table is left: its rows become finished run directories again.

A row is a run's ``result.json`` and a part of its manifest. Models, scores and traces are in no table.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval.errors import ConfigError
from retrieval.run.directory import RunDirectory
from retrieval.run.files import write_json
from sweeps.diagnostics import TableError, require_columns
from sweeps.report.provenance import STATED
from sweeps.study.places import STEER, TABLE, Places
from sweeps.study.provenance import manifest
from sweeps.table.cells import is_blank
from sweeps.table.files import read_table

NAME = re.compile(r"[\w.+@%~=-]*_[0-9a-f]{8}")
"""Names of run directories; what is no such name could lead out of the folder."""


def restore(folder: Path, places: Places) -> str:
    """Write a finished run directory for every row whose run has none, and copy the files that steer.

    ``folder``: what a study wrote, its table and the files that steered its stages. What is there already is
    left as it is. Returns one line for people.

    Raises:
        ConfigError: There is no table in the folder.
        TableError: It is no table of runs; nothing is written then.
    """
    path = folder / TABLE
    if not path.is_file():
        raise ConfigError(f"--resume-from {folder}: there is no {TABLE}; name the results folder of a study")
    table = read_table(path)
    require_columns(table, "run")
    for name in table["run"]:
        if not NAME.fullmatch(str(name)):
            raise TableError(f"{path}: {name!r} is no run's name; name the results folder of a study")
    written = 0
    for (_, values), blank in zip(table.iterrows(), table.apply(is_blank).to_numpy(), strict=True):
        row = {str(key): value for (key, value), none in zip(values.items(), blank, strict=True) if not none}
        written += _restored(RunDirectory(places.runs / str(row.pop("run"))), row)
    for file in sorted((folder / STEER).glob("*.json")):
        if not (places.steer / file.name).exists():
            places.steer.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, places.steer / file.name)
    return f"{path}: {written} runs taken over, {len(table) - written} were there already"


def _restored(directory: RunDirectory, row: Mapping[str, Any]) -> bool:
    """Write what a row says of a run that has no directory; whether it did."""
    if directory.status() is not None:
        return False
    result = {key: value for key, value in row.items() if not key.startswith(STATED)}
    result["warnings"] = [{"code": code} for code in str(result.get("warnings", "")).split()]
    directory.path.mkdir(parents=True, exist_ok=True)
    write_json(directory.path / "manifest.json", manifest(row))
    directory.finish(result)
    return True
