"""Records: files that commit 1fa0c39 wrote are read and written again to the letter, others are refused."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retrieval.errors import DataError
from sweeps.cli import main
from sweeps.comparison.record import Comparison
from sweeps.efficiency.record import Efficiency
from sweeps.fitting.allocation import AllocationFile
from sweeps.fitting.groups import FitFile
from sweeps.fitting.sensitivity import SensitivityFile
from sweeps.frontier.record import Frontier
from sweeps.mixture.record import Mixture
from sweeps.records import OPTIONAL, SPREAD, Record
from sweeps.table.runs import Source
from tests.conftest import REPOSITORY

WRITTEN = REPOSITORY / "tests" / "sweeps" / "written"
RUNS = REPOSITORY / "docs" / "results" / "pareto-by-steps" / "runs.csv"
RECORDS: dict[str, type[Record]] = {
    "fit": FitFile,
    "fit-by": FitFile,
    "frontier": Frontier,
    "efficiency": Efficiency,
    "efficiency-interpolated": Efficiency,
    "compare": Comparison,
    "compare-regret": Comparison,
    "mixture": Mixture,
    "sensitivity": SensitivityFile,
    "allocation": AllocationFile,
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_file_is_read_and_written_again_to_the_letter(name: str) -> None:
    path = WRITTEN / f"{name}.json"
    again = json.dumps(RECORDS[name].load(path).to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    assert again + "\n" == path.read_text(encoding="utf-8")


def without(data: Any, names: list[str]) -> Any:
    """``data`` less what stands under ``names``; a list's first entry counts."""
    first, *rest = names
    if isinstance(data, list):
        return [without(data[0], names), *data[1:]]
    if not rest:
        return {key: value for key, value in data.items() if key != first}
    return data | {first: without(data[first], rest)}


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("fit", "covariance"),
        ("fit-by", "groups.standard.holdout.axis"),
        ("frontier", "knee.rule"),
        ("frontier", "groups.knee.x"),
        ("efficiency", "curves.by.both.low"),
        ("compare-regret", "regret.by.mean.dev.verdict.best_single"),
        ("mixture", "optimum.knee.draws"),
        ("sensitivity", "groups.standard.differences.p"),
        ("allocation", "costs.training"),
    ],
)
def test_what_is_missing_is_said_in_one_line_with_the_command(
    name: str, lacking: str, tmp_path: Path
) -> None:
    path, kind = tmp_path / "file.json", RECORDS[name]
    path.write_text(
        json.dumps(without(json.loads((WRITTEN / f"{name}.json").read_text()), lacking.split(".")))
    )
    with pytest.raises(DataError) as error:
        kind.load(path)
    said = str(error.value).replace("[0]", "")
    assert "\n" not in said
    assert said.startswith(f"{path}: ")
    assert f"{lacking} is missing" in said
    assert f"write one with `python -m sweeps {kind.command} --out {path}`" in said


@pytest.mark.parametrize("text", [None, "", "[]", "3", '"x"', "{}", '{"x": 1}', "[" * 100_000])
def test_a_foreign_file_is_one_line(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "frontier.json"
    if text is not None:
        path.write_text(text)
    for kind in RECORDS.values():
        with pytest.raises(DataError) as error:
            kind.load(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)
        assert f"python -m sweeps {kind.command}" in str(error.value)


def test_a_value_of_another_kind_is_named() -> None:
    data = json.loads((WRITTEN / "frontier.json").read_text())
    for change, said in (
        ({"steers": "yes"}, "steers is 'yes', not true or false"),
        ({"n_runs": 1.5}, "n_runs is 1.5, not a whole number"),
        ({"by": "model"}, "by is 'model', not a list"),
        ({"rho": "high"}, "rho is 'high', not a number"),
        ({"knee": []}, "knee is a list, not an object"),
        ({"warnings": [{"code": "NO_SUCH_CODE", "message": ""}]}, "NO_SUCH_CODE is no code"),
    ):
        with pytest.raises(DataError, match=said):
            Frontier.from_json(data | change)


@dataclass(frozen=True, kw_only=True)
class Inner(Record):
    a: float
    others: dict[str, int] = field(metadata=SPREAD)


@dataclass(frozen=True, kw_only=True)
class Outer(Record):
    first: str
    inner: Inner = field(metadata=SPREAD)
    pair: tuple[int, float | None]
    note: str | None = field(default=None, metadata=OPTIONAL)


def test_spread_and_optional_fields() -> None:
    data = {"first": "x", "a": None, "b": 1, "pair": [1, None]}
    read = Outer.from_json(data)
    assert np.isnan(read.inner.a)
    assert read.inner.others == {"b": 1}
    assert read.pair == (1, None)
    assert read.to_json() == data
    assert Outer.from_json(data | {"note": "n"}).to_json() == {**data, "note": "n"}


def test_a_source_knows_its_runs_whatever_their_order_and_file(tmp_path: Path) -> None:
    table = pd.read_csv(RUNS)
    source = Source.of(table[table["strategy"] == "pooled"], ["strategy=pooled"])
    assert source.is_of(table.sample(frac=1, random_state=1))
    table.to_parquet(tmp_path / "runs.parquet")
    assert source.is_of(pd.read_parquet(tmp_path / "runs.parquet"))
    assert not source.is_of(
        table.assign(**{"eff/contrastive_entropy": table["eff/contrastive_entropy"] + 1e-6})
    )
    assert not source.is_of(table[table["seed"] != 1])
    assert not source.is_of(table[table["strategy"] != "pooled"])


def test_every_command_says_which_runs_it_used(tmp_path: Path) -> None:
    out = tmp_path / "frontier.json"
    assert main(["frontier", "--table", str(RUNS), "--where", "frac=0.05", "--out", str(out)]) == 0
    source = Frontier.load(out).source
    assert source is not None
    assert source.where == ["frac=0.05"]
    assert source.is_of(pd.read_csv(RUNS))
