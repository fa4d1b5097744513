"""Intervals hold the truth as often as they say, and seeds taken as points do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.coverage import coverage, crossed, main
from retrieval.errors import ConfigError

RANGES = ("4e5,8.6e7", "2e4,5e5")
NOISE = (0.03, 0.01)
MODEL = crossed("fang2024-msmarco-model", 5, 5, 3, *RANGES, *NOISE)
JOINT = crossed("fang2024-msmarco-joint", 5, 5, 3, *RANGES, *NOISE)
WITHOUT_SCATTER = replace(JOINT, configuration_sd=0.0)


def test_profile_intervals_hold_the_truth_and_seeds_as_points_do_not() -> None:
    shares = coverage(MODEL, simulations=20, methods=("profile", "profile-runs"))
    assert shares.loc["profile"].min() >= 0.85
    assert shares.loc["profile-runs"].max() <= 0.75


def test_the_number_of_processes_does_not_change_the_result() -> None:
    shares = [coverage(MODEL, 3, ("profile",), processes=processes) for processes in (1, 2)]
    assert shares[0].equals(shares[1])


def test_forms_in_one_axis_get_one_value_of_the_other() -> None:
    assert (len(MODEL.sizes), len(MODEL.pairs)) == (5, 1)
    assert (len(JOINT.sizes), len(JOINT.pairs)) == (5, 5)
    with pytest.raises(ConfigError, match="expected smallest,largest"):
        crossed("fang2024-msmarco-model", 5, 5, 3, "1e6", RANGES[1], *NOISE)


def test_the_command_prints_and_writes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "coverage.csv"
    arguments = ["--published", "fang2024-msmarco-model", "--simulations", "2", "--bootstrap", "0"]
    assert main([*arguments, "--processes", "1", "--out", str(out)]) == 0
    assert list(pd.read_csv(out).columns) == ["interval", "A", "alpha", "delta"]
    assert "profile-runs" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("design", [MODEL, JOINT], ids=["model", "joint"])
def test_95_percent_intervals_cover_in_at_least_90_percent_of_200_simulations(design) -> None:
    shares = coverage(design, simulations=200, draws=300, processes=2)
    assert shares.loc[["profile", "bootstrap"]].to_numpy().min() >= 0.90
    assert shares.loc[["profile-runs", "bootstrap-runs"]].to_numpy().max() <= 0.80


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_without_scatter_between_configurations_seeds_may_be_taken_as_points() -> None:
    shares = coverage(WITHOUT_SCATTER, simulations=200, methods=("profile", "profile-runs"), processes=2)
    assert shares.to_numpy().min() >= 0.90
