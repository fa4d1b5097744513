"""``sweep.cells`` and ``sweep.where``: what they accept, what they refuse and how they say so."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import cell_config, command
from hydra.core.override_parser.overrides_parser import OverridesParser

from retrieval.errors import ConfigError
from retrieval.run.messages import prepared
from sweeps.launch.facts import facts
from sweeps.launch.grid import Where, expand, read_cells, without_columns

FACTS = {
    "size/params_total": 1.5e8,
    "size": 3,
    "strategy": "pareto",
    "strategy.omega": None,
    "strategy.hard.count": 4,
    "frac": 0.5,
    "logger.tags": ["a"],
}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("size/params_total < 2e8", True),
        ("2*size/params_total<2e8", False),
        ("size/3 == 1", True),
        ("size/params_total/1e8 == 1.5 and strategy == 'pareto'", True),
        ("strategy in ('standard', \"pareto\") and not frac > 0.5", True),
        ("strategy != 'size/params_total'", True),
        ("strategy.omega < 0.5 or strategy.omega >= 0.5", False),
        ("strategy.omega == null", True),
        ("0.1 <= frac <= strategy.hard.count ** 0.5", True),
        ("'a' in logger.tags", True),
        ("-frac + 1 == frac % 1", True),
        ("true", True),
    ],
)
def test_where(expression: str, holds: bool) -> None:
    assert Where(expression)(FACTS) is holds


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("size/params_totl < 1", "size/params_total"),
        ("__import__('os')", "no fact"),
        ("frac.__class__", "no fact"),
        ("(lambda: 1)()", "not allowed"),
        ("[x for x in logger.tags]", "no fact"),
        ("strategy < 3", "cannot be compared"),
        ("strategy * 3 == 1", "no number"),
        ("frac / 0 > 1", "division"),
        ("9.0 ** 9 ** 9 > 1", "Result too large|out of range"),
        ("frac <", "not an expression"),
        ("frac is None", "write =="),
        ("ƒ3 == 1", "ƒ"),
        ("f'{frac}' == 'a'", "no fact"),
        ("(" * 1500 + ")" * 1500, "characters"),
        ("-" * 1900 + "1", "sweep.where"),
    ],
)
def test_where_refuses(expression: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Where(expression)(FACTS)


def test_where_reaches_hydra_as_written() -> None:
    parser = OverridesParser.create()
    for text in ("size/params_total < 2e8", "strategy == 'a' and model != \"b\"", "'a' == 'a'", r"x == '\d'"):
        assert parser.parse_override(prepared(f"sweep.where={text}")).value() == text
    for argument in ("sweep.where='a < 1'", "sweep.where=null", "seed=1,2", "-m"):
        assert prepared(argument) == argument


def test_facts_have_the_names_of_results(tmp_path: Path) -> None:
    found = facts(cell_config(tmp_path, "a"))
    assert found["size/params_non_embedding"] == 396_544 + 129 * 768
    assert found["size/params_embedding"] == (16384 + 512 + 2 + 2) * 128
    config = cell_config(tmp_path, "a-hub-id", model__init="pretrained")
    assert facts(config)["size/params_embedding"] == (30522 + 512 + 2 + 2) * 128
    assert (found["frac"], found["data.frac"], found["strategy"], found["seed"]) == (1.0, 1.0, "standard", 1)


def test_rows_are_zipped_and_crossed_with_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_text("model,data.frac,strategy.omega\nbert-tiny,0.1,\n\nbert-mini,1,0.5\n")
    rows = read_cells(str(path))
    assert rows == [
        {"model": "bert-tiny", "data.frac": "0.1"},
        {"model": "bert-mini", "data.frac": "1", "strategy.omega": "0.5"},
    ]
    overrides = OverridesParser.create().parse_overrides(["seed=1,2"])
    assert expand(overrides, rows) == [
        ["seed=1", "model=bert-tiny", "data.frac=0.1"],
        ["seed=2", "model=bert-tiny", "data.frac=0.1"],
        ["seed=1", "model=bert-mini", "data.frac=1", "strategy.omega=0.5"],
        ["seed=2", "model=bert-mini", "data.frac=1", "strategy.omega=0.5"],
    ]


def test_a_column_takes_the_place_of_an_experiments_sweep_but_not_of_the_command_lines() -> None:
    parsed = OverridesParser.create().parse_overrides(["model=a,b", "seed=1"])
    rows = [{"model": "c"}]
    assert without_columns(parsed, rows, parsed[1:], "cells.csv") == parsed[1:]
    with pytest.raises(ConfigError, match=r"model is a column of sweep\.cells=cells\.csv"):
        without_columns(parsed, rows, parsed, "cells.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "first line"),
        ("model\n", "no row"),
        ("model,\nbert-tiny,1\n", "first line"),
        ("seed,seed\n1,2\n", "twice"),
        ("model,seed\nbert-tiny\n", "cells.csv:2: 1 fields under 2"),
        ('seed\n1\n"1,2"\n', "cells.csv:3: seed=1,2 is more than one value"),
        ("seed\n[1\n", r"cells.csv:2: cannot read seed=\[1"),
        ("\xff", "seed|first line|cannot read|no row"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "cells.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=words):
        read_cells(str(path))
    with pytest.raises(ConfigError, match="cannot read"):
        read_cells(str(tmp_path / "absent.csv"))


def test_the_command_takes_both(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_text("model,data.frac\nbert-tiny,0.1\nbert-mini,0.5\nbert-base,1\n")
    sweep = command(tmp_path, f"sweep.cells={path}", "sweep.where=size/params_total < 5e7", "seed=1,2")
    out, err = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, err
    assert out.count(" done ") == 4
    assert "bert-base" not in out
    bad = command(tmp_path, f"sweep.cells={path}", "model=bert-tiny")
    _, err = bad.communicate(timeout=120)
    assert bad.returncode == 2
    assert err.startswith("error: model is a column")


@pytest.mark.slow
def test_batches_that_where_empties_or_that_fail_do_not_stop_the_others(tmp_path: Path) -> None:
    batches = ("hydra.sweeper.max_batch_size=2", "model.pretrained=a,raise", "seed=1,2,3")
    sweep = command(tmp_path, *batches, "sweep.where=seed == 3 or seed == 1 and model.pretrained == 'raise'")
    out, err = sweep.communicate(timeout=120)
    # Of a1 a2 | a3 raise1 | raise2 raise3, as cut before `where`, the first batch would have been empty.
    assert sweep.returncode == 1, err
    assert out.count(" done ") == 1
    assert out.count("ValueError: deliberate") == 2, out
    assert "Traceback" not in out + err
    hasty = command(tmp_path, *batches, "fail_fast=true", "seed=4,5,6", "model.pretrained=raise,a")
    out, _ = hasty.communicate(timeout=120)
    assert hasty.returncode == 1
    assert "seed=6" not in out + "".join(path.name for path in (tmp_path / "runs").glob("*s6*"))
    nothing = command(tmp_path, *batches, "sweep.where=seed > 3")
    _, err = nothing.communicate(timeout=120)
    assert nothing.returncode == 2
    assert err.startswith("error: sweep.where=seed > 3 keeps none of 6 cells")
