"""Ratios are added to the history of commits on request, and only of files that a commit has."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contest import Match, rows
from benchmarks.history import COLUMNS, HISTORY, append, clean_commit
from retrieval.errors import ConfigError
from tests.benchmarks.test_same_commits import git, repository

__all__ = ["repository"]

MACHINE: dict[str, Any] = {"cpu": "A, B", "isa": "avx2", "cores": 2}


def match() -> Match:
    names = ("sentence-transformers fp32", "sentence-transformers bf16", "ours bf16")
    return Match("training", "tiny", "pairs", dict.fromkeys(names, lambda: 0.0))


SPEEDS = {
    "sentence-transformers fp32": [1.0, 3.0, 1.0],
    "sentence-transformers bf16": [2.0, 2.0, 2.0],
    "ours bf16": [6.0, 6.0, 5.0],
}


def test_ratios_are_to_the_best_reference_of_each_round() -> None:
    own = rows(match(), SPEEDS)[-1]
    # 6/2, 6/3, 5/2.
    assert (own["ratio"], own["low"], own["high"]) == (2.5, 2.0, 3.0)
    assert own["ratios"] == {"sentence-transformers fp32": 5.0, "sentence-transformers bf16": 3.0}
    assert [row["reference"] for row in rows(match(), SPEEDS)] == [True, True, False]


def test_without_ours_the_first_is_the_reference() -> None:
    cells = Match("cells", "2", "pairs", {"one after the other": lambda: 1.0, "side by side": lambda: 2.0})
    assert cells.references == ["one after the other"]


def test_rows_are_added_behind_those_that_are_there(tmp_path: Path) -> None:
    history = tmp_path / "history.csv"
    history.write_text(",".join(COLUMNS) + "\n")
    for commit in ("a", "b"):
        assert append(rows(match(), SPEEDS), MACHINE, commit, history) == 1
    with history.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["commit"] for row in found] == ["a", "b"]
    assert found[0] | {"date": ""} == {
        "commit": "a",
        "date": "",
        "processor": "A, B",
        "isa": "avx2",
        "cores": "2",
        "measure": "training: tiny: ours bf16",
        "ratio": "2.500",
        "low": "2.000",
        "high": "3.000",
    }


def test_a_file_of_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("commit,ratio\n")
    with pytest.raises(ConfigError, match=r"columns are commit,ratio, not commit,date,"):
        append(rows(match(), SPEEDS), MACHINE, "a", tmp_path / "history.csv")


def test_changed_files_are_refused_but_not_the_history_itself(repository: Path) -> None:
    history = repository / "history.csv"
    history.write_text(",".join(COLUMNS) + "\n")
    git(repository, "add", "history.csv")
    git(repository, "commit", "--quiet", "--message=history")
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "new").write_text("not tracked")
    append(rows(match(), SPEEDS), MACHINE, commit, history)
    assert clean_commit(repository, history) == commit
    (repository / "file").write_text("third")
    with pytest.raises(ConfigError, match=rf"file changed since {commit[:7]}.*commit first"):
        clean_commit(repository, history)


def test_a_folder_without_git_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no git checkout"):
        clean_commit(tmp_path, tmp_path / "history.csv")


def test_the_committed_history_has_the_columns() -> None:
    assert HISTORY.read_text(encoding="utf-8").splitlines()[0] == ",".join(COLUMNS)
