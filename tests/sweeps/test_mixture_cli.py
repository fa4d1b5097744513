"""`python -m sweeps mixture`: the record, the terminal, the figures, the section of the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mixture_tables import EFF, MINI, ROB, TINY, best, mixture_table

from retrieval.training.mixture_file import load_mixture
from sweeps.cli import main
from sweeps.fitting.result import FitOptions
from sweeps.mixture.fit import MixtureOptions, fit_mixture
from sweeps.report.figures.omega import mixture_panels
from sweeps.report.tradeoff import mixture_section
from sweeps.report.written import Written

PAIRS = (1431, 7152, 28608)
FORMS = ["--form", "effective-data", "--form", "effective-data-smooth", "--bootstrap", "60"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    mixture_table(pairs=PAIRS).to_csv(path, index=False)
    return path


def mixture(table: Path, *extra: str) -> int:
    out = str(table.parent / "mixture.json")
    return main(["mixture", "--table", str(table), *FORMS, "--out", out, *extra])


def test_record_terminal_and_figures(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = table.parent / "figures"
    assert mixture(table, "--figures", str(folder), "--predict", f"{TINY},14304") == 0
    said = capsys.readouterr().out
    assert "law of the knee: logit ω* = " in said
    assert "without the largest D (28608 pairs): ω* " in said
    assert "predicted at N=4.956e+05, D=1.43e+04" in said
    record = json.loads((table.parent / "mixture.json").read_text(encoding="utf-8"))
    assert record["kind"] == "mixture"
    assert record["steers"] is True
    assert record["conditions"] == {
        "train_steps": 600,
        "pairs_per_step": 64.0,
        "robust": "ood",
        "base_strategy": "standard",
        "data": "pydocs",
        "mixing": "steps",
    }
    assert [cell["n_runs"] for cell in record["cells"]] == [10, 10, 10]
    assert {"model", "frac", "optimum", "frontier", "measured"} <= set(record["cells"][0])
    assert record["forms"]["eff"]["effective-data"]["holdout"] > 0
    assert record["params"]["eff"]["B"]["low"] < record["params"]["eff"]["B"]["high"]
    assert len(record["optimum"]["knee"]["draws"]) == 60
    names = {path.name for path in folder.iterdir()}
    stems = ("mixture-eff", "mixture-rob", "mixture-optimum")
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "pdf", "png")}


def test_training_reads_what_the_command_writes(table: Path) -> None:
    assert mixture(table) == 0
    law = load_mixture(table.parent / "mixture.json")
    for d in PAIRS:
        omega, low, high = law.omega("knee", TINY, d)
        assert omega == pytest.approx(best(d), abs=0.08)
        assert low <= omega <= high
    law.check(600, 64, "ood", "standard")


def test_where_leaves_a_level_out(table: Path) -> None:
    assert mixture(table, "--where", "frac=0.05,0.25") == 0
    record = json.loads((table.parent / "mixture.json").read_text(encoding="utf-8"))
    assert record["optimum"]["knee"]["range"]["train_pairs"] == [1431.0, 7152.0]
    assert record["chosen_by"] == "aicc"


def test_an_empty_alternative_keeps_the_base_strategy(table: Path) -> None:
    assert mixture(table, "--where", "omega/robust=ood,") == 0
    record = json.loads((table.parent / "mixture.json").read_text(encoding="utf-8"))
    assert record["n_runs"] == 30


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--predict", "1e6"], "expected two positive numbers N,D"),
        (["--eff", "dev/eff/contrastive"], "column 'dev/eff/contrastive' is not in the table"),
        (["--where", "strategy=standard"], "NO_FIXED_OMEGA"),
        (["--form", "cubic"], "cubic does not exist"),
    ],
)
def test_mistakes_are_one_line(
    table: Path, extra: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mixture(table, *extra) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_figures_of_several_sizes_have_names_of_their_own() -> None:
    options = MixtureOptions(
        forms=("effective-data",), fit=FitOptions(loss="least-squares", starts=16, bootstrap=20)
    )
    table = mixture_table(pairs=PAIRS, sizes=(TINY, MINI), omegas=(0, 0.25, 0.5))
    names = [panel.name for panel in mixture_panels(fit_mixture(table, options))]
    assert len(names) == len(set(names)) == 5
    assert names[0] == f"mixture-eff-{TINY}"


def test_section_of_the_report() -> None:
    table = mixture_table(pairs=PAIRS)
    part = mixture_section(table, Written(None, table))
    assert part is not None
    assert len(part.panels) == 3
    assert part.records["mixture"].to_json()["metrics"] == {"eff": EFF, "rob": ROB}
    assert len(part.tables[0].rows) == 3
    assert mixture_section(table[table["strategy"] == "standard"], Written(None, table)) is None
    few = mixture_section(table[table["omega/final"].fillna(0).isin([0, 0.25])], Written(None, table))
    assert few is not None
    assert few.notes[0].startswith("NO_MIXTURE_LAW: FEWER_THAN_3_OMEGAS")
