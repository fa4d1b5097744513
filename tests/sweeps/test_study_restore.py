"""A study goes on from a table of runs made elsewhere."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from synthetic_runs import Sweep, write_runs

from retrieval.errors import ConfigError
from retrieval.run.directory import RunDirectory
from retrieval.run.files import read_json, write_json, write_text
from sweeps.cli import main
from sweeps.diagnostics import TableError
from sweeps.study.places import Places
from sweeps.study.provenance import collect_study
from sweeps.study.restore import restore
from sweeps.study.run import collect_runs
from sweeps.table.files import read_table

SWEEP = Sweep(models=("bert-tiny",), fractions=(0.1, 0.5), strategies=("standard", "pareto"), seeds=(1, 2))


def places(folder: Path) -> Places:
    return Places(folder / "runs", folder / "results", folder / "results" / "runs.csv")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Places:
    """The results of a study whose runs are there."""
    found = places(tmp_path / "elsewhere")
    write_runs(found.runs, SWEEP)
    write_json(found.steer / "mixture.json", {"form": "any"})
    found.out.mkdir(parents=True)
    collect_runs(found, lambda _: None)
    return found


def test_runs_taken_over_give_the_same_table_and_the_same_steering_files(
    elsewhere: Places, tmp_path: Path
) -> None:
    here = places(tmp_path / "here")
    assert restore(elsewhere.out, here).endswith("8 runs taken over, 0 were there already")
    assert all(RunDirectory(path).finished() for path in here.runs.iterdir() if path.name != ".study")
    here.out.mkdir()
    collect_runs(here, lambda _: None)
    expected, found = read_table(elsewhere.table), read_table(here.table)
    pd.testing.assert_frame_equal(found[expected.columns], expected)
    assert set(found.columns) == set(expected.columns)
    assert read_json(here.out / "steer" / "mixture.json") == {"form": "any"}


def test_what_is_there_already_stays(elsewhere: Places, tmp_path: Path) -> None:
    here = places(tmp_path / "here")
    name = str(collect_study(elsewhere.runs).frame["run"][0])
    RunDirectory(here.runs / name).finish({"mine": 1})
    write_json(here.steer / "mixture.json", {"form": "mine"})
    assert restore(elsewhere.out, here).endswith("7 runs taken over, 1 were there already")
    assert RunDirectory(here.runs / name).result() == {"mine": 1}
    assert read_json(here.steer / "mixture.json") == {"form": "mine"}


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "runs.csv", "run,seed\n../../other_01234567,1\n")
    with pytest.raises(TableError, match="is no run's name"):
        restore(tmp_path, places(tmp_path / "here"))
    assert not (tmp_path / "here").exists()


def test_a_folder_without_a_table_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"there is no runs\.csv"):
        restore(tmp_path, places(tmp_path / "here"))
    assert main(["study", "pydocs", "--table", "x.csv", "--resume-from", str(tmp_path)]) == 2
    assert "drop --plan, --runs, --resume-from" in capsys.readouterr().err
