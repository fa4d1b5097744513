"""Which robustness comes with scale: exponents that were planted, shares of harm, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from score_runs import Truth, write_scores
from synthetic_runs import Sweep, rows, table, write_runs

from retrieval.run.metric_names import is_harm_share
from sweeps.cli import main
from sweeps.fitting.configurations import label_runs, worst_by_chance
from sweeps.fitting.points import prepare
from sweeps.report.robustness import kinds_section
from sweeps.robustness.scale import EFFECTIVENESS, exponents, measures

SWEEP = Sweep(strategies=("standard",), seeds=(1, 2), fractions=(0.05, 0.2, 1.0))


def planted(noise: float = 0.01) -> pd.DataFrame:
    """Kinds with known exponents in N and D: typos (.05, .1), an attack that scale feeds (−.2, 0), a bias."""
    runs = table(SWEEP)
    generator = np.random.default_rng(0)
    n, d = runs["size/params_non_embedding"] / 1e6, runs["size/train_pairs"] / 1e4
    noisy = np.exp(noise * generator.standard_normal((3, len(runs))))
    runs[EFFECTIVENESS] = 2 * n**-0.1 * d**-0.3
    runs["var/typo/contrastive_entropy"] = 2.5 * n**-0.05 * d**-0.1 * noisy[0]
    runs["adv/poison/auc"] = 0.2 * n**0.2 * noisy[1]
    runs["bias/length/preference"] = 0.5 + 0.2 * n**-0.3 * noisy[2]
    return label_runs(runs)


def test_kinds_are_found_in_their_columns() -> None:
    names = {one.name: one.column for one in measures(planted())}
    assert list(names) == ["effectiveness", "OOD", "attack: poison", "bias: length", "queries: typo"]


def test_planted_exponents_are_recovered() -> None:
    found, refused = exponents(planted(), "standard")
    assert not refused
    by = {(one.kind, one.axis): one for one in found}
    true = {
        ("effectiveness", "N"): 0.1,
        ("effectiveness", "D"): 0.3,
        ("queries: typo", "N"): 0.05,
        ("queries: typo", "D"): 0.1,
        ("attack: poison", "N"): -0.2,
        ("bias: length", "N"): 0.3,
    }
    for key, value in true.items():
        one = by[key]
        assert one.low is not None
        assert one.high is not None
        # Effectiveness has no noise, so its interval has no width but rounding.
        assert one.low - 1e-9 <= value <= one.high + 1e-9
    difference = by["queries: typo", "D"].difference
    assert difference is not None
    low, high = difference[1:]
    assert low is not None
    assert high is not None
    assert low < 0.1 - 0.3 < high
    assert by["attack: poison", "N"].verdict == "grows worse"
    assert by["queries: typo", "N"].verdict == "comes with scale"
    assert by["effectiveness", "D"].difference is None


def test_runs_at_zero_are_named_and_one_axis_is_enough() -> None:
    runs = planted()
    runs = runs[runs["model"] == "bert-tiny"].copy()
    runs.loc[runs.index[0], "adv/poison/auc"] = 0.0
    found, refused = exponents(runs, "standard")
    assert {one.axis for one in found} == {"D"}
    assert refused == ["standard, attack: poison: 1 runs at 0, which has no logarithm, are left out"]


def test_report_shows_the_kinds() -> None:
    section = kinds_section(planted())
    assert section is not None
    assert [panel.name for panel in section.panels] == ["kinds-N", "kinds-D"]
    row = next(row for row in section.tables[0].rows if row[0] == "attack: poison" and "N" in row[2])
    assert row[-2] == "grows worse"
    assert kinds_section(label_runs(table(SWEEP))) is None


@pytest.mark.parametrize(
    ("metric", "harm"),
    [
        ("adv/auc", True),
        ("adv/poison/auc", True),
        ("adv/poison/top10_rate", True),
        ("adv/success_rate", True),
        ("adv/ndcg@10", False),
        ("bias/length/preference", False),
        ("eff/contrastive_entropy", False),
    ],
)
def test_shares_of_harm_are_at_worst_one(metric: str, harm: bool) -> None:
    assert is_harm_share(metric) == harm
    assert (worst_by_chance(metric) == 1.0) == harm


def test_a_share_is_bounded_by_one_where_no_run_reaches_it() -> None:
    runs = planted()
    assert prepare(runs, "adv/poison/auc").chance == 1.0
    runs["adv/success_rate"] = 1.0
    assert prepare(runs, "adv/success_rate").chance is None
    assert prepare(runs, "var/typo/contrastive_entropy").chance == pytest.approx(np.log(257))


@pytest.mark.parametrize("metric", ["var/typo/contrastive_entropy", "adv/poison/auc"])
def test_fit_takes_every_kind(metric: str, tmp_path: Path) -> None:
    runs = planted()
    # A share that falls with both, to its floor.
    sizes = runs["size/params_non_embedding"] / 1e6, runs["size/train_pairs"] / 1e4
    runs["adv/poison/auc"] = 0.1 + 0.1 * sizes[0] ** -0.2 + 0.1 * sizes[1] ** -0.3
    runs.drop(columns=["label", "configuration"]).to_csv(tmp_path / "runs.csv", index=False)
    out = tmp_path / "fit.json"
    options = [
        "--table",
        str(tmp_path / "runs.csv"),
        "--law",
        "additive",
        "--bootstrap",
        "0",
        "--out",
        str(out),
    ]
    assert main(["fit", "--metric", metric, *options]) == 0
    fit = json.loads(out.read_text())
    assert fit["metric"] == metric
    assert fit["chance"] == (1.0 if metric.endswith("auc") else pytest.approx(np.log(257)))


def test_report_shows_written_statistics(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    write_scores(runs, Truth(fractions=(0.5, 1.0), seeds=2, queries=20), seed=1)
    out = tmp_path / "robustness.json"
    assert main(["robustness", "--runs", str(runs), "--bootstrap", "100", "--out", str(out)]) == 0
    assert main(["report", "--runs", str(runs), "--out", str(tmp_path / "report"), "--formats", "svg"]) == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "robustness.json, written by `python -m sweeps robustness`, is shown" in page
    assert (tmp_path / "report" / "tables" / "robustness-effects.csv").is_file()
    assert (tmp_path / "report" / "figures" / "variance-shares.svg").is_file()


def test_report_of_runs_with_kinds_has_table_and_figure(tmp_path: Path) -> None:
    extra = {"var/typo/contrastive_entropy": 2.0, "adv/auc": 0.3, "adv/wsra/auc": 0.3}
    sweep = Sweep(strategies=("standard",), models=("bert-tiny",), fractions=(0.1, 0.3, 1.0), extra=extra)
    assert len(rows(sweep)) == 3
    write_runs(tmp_path / "runs", sweep)
    folder = tmp_path / "report"
    assert main(["report", "--runs", str(tmp_path / "runs"), "--out", str(folder), "--formats", "svg"]) == 0
    kinds = pd.read_csv(folder / "tables" / "kinds.csv")
    assert set(kinds["kind"]) == {"effectiveness", "OOD", "attack: wsra", "queries: typo"}
    assert (folder / "figures" / "kinds-D.svg").is_file()
