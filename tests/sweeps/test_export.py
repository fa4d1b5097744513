"""Exporting a run's encoder: the folder loads, nothing is overwritten, bad input is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.cli import main


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    run = tmp_path / "runs" / "a_run"
    (run / "model" / "1_Pooling").mkdir(parents=True)
    (run / "model" / "modules.json").write_text("[]")
    (run / "model" / "1_Pooling" / "config.json").write_text("{}")
    (run / "config.yaml").write_text("seed: 1\n")
    return run


def test_copies_the_encoder_with_the_configuration_of_its_run(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "shared" / "encoder"
    assert main(["export", str(finished), "--out", str(out)]) == 0
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == {"modules.json", "1_Pooling/config.json", "paretrieve-run.yaml"}
    assert (out / "paretrieve-run.yaml").read_text() == "seed: 1\n"


@pytest.mark.parametrize(
    ("model", "reader"),
    [
        ("", "SentenceTransformer"),
        ("model: {family: dual-encoder}\n", "SentenceTransformer"),
        ("model: {family: sparse}\n", "SparseEncoder"),
        ("model: {family: cross-encoder}\n", "CrossEncoder"),
    ],
)
def test_says_what_loads_the_folder(
    finished: Path, tmp_path: Path, model: str, reader: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (finished / "config.yaml").write_text(f"seed: 1\n{model}")
    assert main(["export", str(finished), "--out", str(tmp_path / "out")]) == 0
    assert f": {reader}(" in capsys.readouterr().out


@pytest.mark.parametrize("case", ["no run", "unfinished", "occupied"])
def test_refusals_are_one_line(
    finished: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = finished, tmp_path / "out"
    if case == "no run":
        run = tmp_path / "nowhere"
    elif case == "unfinished":
        (finished / "model" / "modules.json").unlink()
    else:
        out.mkdir()
        (out / "precious").write_text("")
    assert main(["export", str(run), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
