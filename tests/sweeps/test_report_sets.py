"""The report's tables of single test sets, with rows of reference, and its tables of other comparisons."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from synthetic_runs import Sweep, write_runs

from sweeps.cli import main
from sweeps.comparison.record import Comparison
from sweeps.fitting.configurations import label_runs
from sweeps.report.comparisons import comparisons_section
from sweeps.report.page import Section
from sweeps.report.sets import set_tables
from sweeps.report.written import Written
from sweeps.table.runs import collect_runs

NDCG = "ndcg@10"


def runs_of(values: list[float], **columns: object) -> pd.DataFrame:
    """Runs of one cell whose in-domain nDCG@10 are ``values``; OOD sets near and far, all at .25 and .5."""
    frame = pd.DataFrame(
        {
            "run": [f"r{seed}" for seed, _ in enumerate(values)],
            "strategy": "standard",
            "model": "bert-tiny",
            "frac": 0.1,
            "seed": range(len(values)),
            f"eff/{NDCG}": values,
            f"ood/near/{NDCG}": 0.25,
            f"ood/far/{NDCG}": 0.5,
        }
    )
    return label_runs(frame.assign(**columns))


def test_every_set_stands_by_itself_with_its_references() -> None:
    references = {f"bm25/eff/{NDCG}": 0.7, f"untrained/ood/far/{NDCG}": [0.1, 0.2, 0.3]}
    (table,) = set_tables(runs_of([0.6, 0.7, 0.8], **references))
    assert table.headings == [NDCG, "model", "fraction", "seeds", "in-domain", "far", "near"]
    assert table.rows == [
        ["BM25", "", "", "", "0.700", "", ""],
        ["untrained", "bert-tiny", "", "", "", "0.200 ± 0.100", ""],
        ["standard", "bert-tiny", "0.1", "3", "0.700 ± 0.100", "0.500", "0.250"],
    ]


def test_bm25_of_other_texts_is_no_reference_and_one_domain_needs_no_table() -> None:
    frame = runs_of([0.6, 0.7])
    (table,) = set_tables(frame.assign(**{f"bm25/eff/{NDCG}": [0.7, 0.8]}))
    assert [row[0] for row in table.rows] == ["standard"]
    assert set_tables(frame.drop(columns=[f"ood/near/{NDCG}", f"ood/far/{NDCG}"])) == []


def test_comparisons_that_no_section_shows_have_tables(tmp_path: Path) -> None:
    sweep = Sweep(
        models=("bert-mini",), fractions=(0.1, 1.0), strategies=("standard", "pareto"), seeds=(1, 2)
    )
    runs = write_runs(tmp_path / "runs", sweep)
    names = [f"eff/{NDCG}", f"ood/{NDCG}", "eff/contrastive_entropy", "ood/contrastive_entropy"]
    wide = [word for name in names for word in ("--metric", name)]
    for name, words in (("compare", []), ("compare-few", ["--where", "frac=0.1"]), ("compare-wide", wide)):
        asked = ["compare", *words, "--runs", str(runs), "--out", str(tmp_path / f"{name}.json")]
        assert main(asked) == 0
    written = Written(tmp_path, collect_runs(runs).frame)
    every = written.every(Comparison, Section("", ""))
    shown = [record for path, record in every if path.stem == "compare"]
    section = comparisons_section(written, shown)
    assert section is not None
    few, turned = section.tables
    assert few.headings[:2] == ["pareto less standard (frac=0.1)", "pairs"]
    assert [row[0] for row in few.rows] == ["bert-mini, frac 0.1"]
    assert turned.headings == ["pareto less standard", "bert-mini, frac 0.1", "bert-mini, frac 1"]
    assert [row[0] for row in turned.rows] == names
    assert comparisons_section(written, [record for _, record in every]) is None
