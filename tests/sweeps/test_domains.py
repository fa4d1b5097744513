"""The matrix of training and test domains."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from retrieval.errors import ConfigError, DataError
from sweeps.cli import main
from sweeps.comparison.domains import Domains, domains
from sweeps.diagnostics import TableError
from sweeps.fitting.configurations import label_runs

GAINS = {"books": {"in-domain": -0.1, "films": -0.5}, "films": {"in-domain": 0.2, "books": -0.3}}


def table() -> pd.DataFrame:
    """A baseline with tests on both domains, and two runs a seed that were trained on one of them."""
    rows = []
    for seed, offset in ((1, 0.0), (2, 0.7)):
        base = {"model": "m", "frac": 0.1, "seed": seed, "eval/queries": 9, "eval/pool": 99}
        clean = {"in-domain": 2.0 + offset, "books": 3.0 + offset, "films": 4.0 + offset}
        for train, gains in {"books, films": {}, **GAINS}.items():
            scores = {test: value + gains.get(test, 0.0) for test, value in clean.items() if test != train}
            row = base | {"data/robust": train, "strategy": "pareto" if gains else "standard"}
            row |= {"omega/rule": "fixed", "omega/final": 0.5} if gains else {}
            for test, value in scores.items():
                row["eff/ce" if test == "in-domain" else f"ood/{test}/ce"] = value
            rows.append(row)
    return pd.DataFrame(rows)


def test_effects_are_paired_by_seed_and_a_domain_is_no_test_of_itself() -> None:
    found = domains(table(), "standard", "fixed ω=0.5", "ce", 0.95).matrix()
    assert list(found) == ["books", "films"]
    for train, gains in GAINS.items():
        assert {test: judged.difference for test, judged in found[train].items()} == pytest.approx(gains)
        # Both seeds differ by the same, whatever the seeds themselves differ by.
        assert all(judged.high - judged.low < 1e-9 for judged in found[train].values())


def test_what_cannot_be_compared_is_refused() -> None:
    runs = table()
    with pytest.raises(TableError, match="data/robust"):
        domains(runs.drop(columns="data/robust"), "standard", "fixed ω=0.5", "ce", 0.95)
    with pytest.raises(ConfigError, match=r"frac is one of 0\.1, 0\.2; keep one by --where frac=VALUE"):
        domains(pd.concat([runs, runs.assign(frac=0.2)]), "standard", "fixed ω=0.5", "ce", 0.95)
    with pytest.raises(ConfigError, match=r"--baseline pooled: no such runs; .* has fixed ω=0\.5, standard"):
        domains(runs, "pooled", "fixed ω=0.5", "ce", 0.95)
    with pytest.raises(DataError, match="in-domain: eval/pool differs"):
        domains(runs.assign(**{"eval/pool": range(len(runs))}), "standard", "fixed ω=0.5", "ce", 0.95)


def test_the_command_writes_record_and_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs.csv"
    table().to_csv(runs, index=False)
    label = label_runs(table())["label"].iloc[-1]
    options = ["--strategy", label, "--metric", "ce", "--out", str(tmp_path / "domains.json")]
    assert main(["domains", "--table", str(runs), *options, "--figures", str(tmp_path)]) == 0
    assert "books" in capsys.readouterr().out
    record = Domains.load(tmp_path / "domains.json")
    assert record.matrix()["films"]["books"].difference == pytest.approx(-0.3)
    assert (tmp_path / "domains.svg").read_text().startswith("<?xml")
