"""The matrix of training and test domains."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from retrieval.errors import ConfigError, DataError
from sweeps.cli import main
from sweeps.commands import options as shared
from sweeps.comparison.domains import Domains, domains
from sweeps.diagnostics import TableError
from sweeps.fitting.configurations import label_runs
from sweeps.report.trained_on import trained_on_section
from sweeps.report.written import Written

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
    with pytest.raises(DataError, match=r"no run of fixed ω=0\.5 says what it was trained on"):
        domains(runs.assign(**{"data/robust": None}), "standard", "fixed ω=0.5", "ce", 0.95)
    with pytest.raises(DataError, match="in-domain: eval/pool differs"):
        domains(runs.assign(**{"eval/pool": range(len(runs))}), "standard", "fixed ω=0.5", "ce", 0.95)


def test_the_report_shows_the_written_matrices(tmp_path: Path) -> None:
    path, records = tmp_path / "runs.csv", tmp_path / "records"
    table().to_csv(path, index=False)
    records.mkdir()
    assert trained_on_section(Written(records, table())) is None
    words = ["domains", "--table", str(path), "--strategy", "fixed ω=0.5", "--metric", "ce"]
    assert main([*words, "--out", str(records / "domains.json")]) == 0
    section = trained_on_section(Written(records, shared.collect(Path(), path).frame))
    assert section is not None
    (matrix,) = section.tables
    assert matrix.headings == ["trained on", "in-domain", "films", "books"]
    assert matrix.rows == [
        ["books", "-0.100 ± 0.000", "-0.500 ± 0.000", ""],
        ["films", "+0.200 ± 0.000", "", "-0.300 ± 0.000"],
    ]
    assert [panel.name for panel in section.panels] == ["trained-on-domains"]
    assert list(section.records) == ["domains"]


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
