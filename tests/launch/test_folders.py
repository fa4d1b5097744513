"""Texts of folders, counted by their lines: what the data say once they are prepared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps.launch import folders
from sweeps.launch.compose import compose_command
from sweeps.launch.contents import read_contents
from sweeps.launch.workload import UNCAPPED, assumed_contents

SIZES = {"own": 120, "stories": 60, "questions": 70, "science": 90}
"""Passages of each collection; every one has a query of its own."""

SPLITS = {
    "own": ("train", "dev", "test"),
    "stories": ("train",),
    "questions": ("dev", "test"),
    "science": ("test",),
}


@pytest.fixture
def collections(tmp_path: Path) -> Path:
    for name, size in SIZES.items():
        folder = tmp_path / name
        (folder / "qrels").mkdir(parents=True)
        rows = {
            "corpus": [
                {"_id": f"p{row}", "title": "", "text": f"{name} passage {row}"} for row in range(size)
            ],
            "queries": [{"_id": f"q{row}", "text": f"{name} query {row}"} for row in range(size)],
        }
        for file, lines in rows.items():
            (folder / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for place, split in enumerate(SPLITS[name]):
            # Each query of a split has two relevant passages: lines of judgements are not queries.
            step = len(SPLITS[name])
            judged = range(place, size, step)
            pairs = [f"q{row}\tp{passage}\t1\n" for row in judged for passage in (row, (row + step) % size)]
            (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(pairs))
    return tmp_path


def overrides(folder: Path, *more: str) -> list[str]:
    return [
        "data=local",
        f"data.path={folder / 'own'}",
        f"data.robust=[{folder / 'stories'}]",
        f"data.robust_dev=[{folder / 'questions'}]",
        f"data.ood=[{folder / 'science'}]",
        "data.vocabulary=300",
        "eval=full",
        "eval.negatives=8",
        "model=bert-tiny",
        f"cache={folder / 'cache'}",
        "logger=none",
        *more,
    ]


@pytest.mark.parametrize("limits", [(), ("eval.max_queries=30",)])
def test_the_lines_of_folders_say_what_the_data_say_once_they_are_read(
    collections: Path, limits: tuple[str, ...]
) -> None:
    config = compose_command(overrides(collections, *limits))[0].config
    assumed, read = assumed_contents(config), read_contents(config)
    assert assumed.test_queries == read.test_queries
    assert assumed.test_passages == read.test_passages == 2 * 120 + 90 + 70
    assert assumed.repeated_passages == read.repeated_passages == 120


def test_lines_of_a_large_corpus_are_counted_by_its_first_ones(
    collections: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose_command(overrides(collections))[0].config
    monkeypatch.setattr(folders, "SAMPLE", 1000)
    # Numbers have one to three digits, twice a line of 50 bytes: the first lines are shorter by 4 at most.
    found = assumed_contents(config)
    assert found.test_passages != 2 * 120 + 90 + 70
    assert found.test_passages == pytest.approx(2 * 120 + 90 + 70, rel=4 / 50)


@pytest.mark.parametrize(("file", "content"), [("corpus.jsonl", b"x" * 2000), ("qrels/test.tsv", b"")])
def test_a_folder_that_cannot_be_counted_has_typical_numbers(
    collections: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: bytes
) -> None:
    monkeypatch.setattr(folders, "SAMPLE", 1000)
    path = collections / "science" / file
    path.write_bytes(content) if content else path.unlink()
    found = assumed_contents(compose_command(overrides(collections))[0].config)
    assert found.test_passages == 4 * UNCAPPED["passages"]


def test_judgements_that_are_no_text_and_passages_judged_irrelevant_are_no_queries(collections: Path) -> None:
    config = compose_command(overrides(collections))[0].config
    before = assumed_contents(config).test_queries
    folders._counts.cache_clear()
    with (collections / "science" / "qrels" / "test.tsv").open("ab") as file:
        file.write(b"q-other\tp1\t0\n\xff\xfe\n")
    assert assumed_contents(config).test_queries == before


def test_a_collection_that_is_no_folder_has_typical_numbers(collections: Path) -> None:
    config = compose_command(overrides(collections, "data.ood=[beir/scifact]"))[0].config
    found = assumed_contents(config)
    assert found.test_passages == 4 * UNCAPPED["passages"]
