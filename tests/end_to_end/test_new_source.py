"""A source is one code file and one configuration file: every command then knows it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.end_to_end.conftest import SMALL
from tests.end_to_end.test_command_line import command

CODE = '''
"""Numbers and their names: a toy."""

from dataclasses import dataclass
from pathlib import Path

from retrieval.config.data import SOURCES, DataConfig, Source
from retrieval.config.knobs import knob
from retrieval.data.cache import build_once, digest
from retrieval.data.sources import Suite, references

WORDS = "zero one two three four five six seven eight nine".split()


@dataclass
class NumbersConfig(DataConfig):
    """Numbers and their names."""

    name: str = "numbers"
    digits: int = knob(2, "Digits of a number.", minimum=2, maximum=3)


def fingerprint(config, cache=None):
    return references.extended_fingerprint(digest({"numbers": config.digits}), config, cache)


def prepare(config, cache):
    key = fingerprint(config)
    place = cache / "sources" / key
    build_once(place, lambda folder: write(folder, config.digits), describe="numbers")
    suite = Suite("numbers", place, {}, {}, {}, key)
    return references.with_references(suite, config, cache)


def write(folder, digits):
    import json

    (folder / "qrels").mkdir(parents=True)
    files = {"corpus": [], "queries": []}
    splits = {"train": [], "dev": [], "test": []}
    for number in range(10**digits):
        name = " ".join(WORDS[int(digit)] for digit in str(number))
        files["corpus"].append({"_id": f"p{number}", "title": "", "text": name})
        files["queries"].append({"_id": f"q{number}", "text": f"name of {number}"})
        split = "test" if number % 10 == 3 else "dev" if number % 10 == 7 else "train"
        splits[split].append((number, number))
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + chr(10) for row in rows))
    for name, rows in splits.items():
        lines = ["query-id\\tcorpus-id\\tscore", *(f"q{q}\\tp{p}\\t1" for q, p in rows)]
        (folder / "qrels" / f"{name}.tsv").write_text(chr(10).join(lines) + chr(10))


SOURCES.register("numbers", Source(NumbersConfig, fingerprint, prepare))
'''
YAML = "# Numbers and their names.\ndefaults:\n  - numbers_schema\n  - _self_\n"
OURS = [option for option in SMALL if not option.startswith("data=") and option.split(".")[0] != "data"]
CELL = ("data=numbers", *OURS, "eval.pool=60", "eval.max_queries=5", "train.steps=2", "data.vocabulary=100")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the two files."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("retrieval", "sweeps", "hydra_plugins", "conf"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "train.py", folder)
    (folder / "retrieval" / "data" / "sources" / "numbers.py").write_text(CODE)
    (folder / "conf" / "data" / "numbers.yaml").write_text(YAML)
    return folder


def said(tree: Path, *arguments: str, status: int = 0) -> str:
    done = command(*arguments, folder=tree, PYTHONPATH=str(tree))
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_help_names_it_and_its_keys(tree: Path) -> None:
    page = said(tree, "train.py", "--help", "data")
    for part in (
        "data=numbers",
        "Numbers and their names.",
        "data.digits",
        "Digits of a number.",
        "from 2 to 3",
    ):
        assert part in page


def test_its_values_are_checked(tree: Path) -> None:
    assert "data.digits=7 is out of range; it must be from 2 to 3" in said(
        tree, "train.py", "data=numbers", "data.digits=7", status=2
    )
    assert "hub, local, mteb, numbers, pydocs" in said(tree, "train.py", "data.name=nothing", status=2)


def test_it_is_planned_trained_and_swept(tree: Path, cache: Path) -> None:
    cell = (*CELL, f"cache={cache}")
    assert "numbers" in said(tree, "-m", "sweeps", "plan", *cell)
    said(tree, "train.py", *cell)
    said(tree, "train.py", "-m", *cell, "seed=1,2")
    results = sorted((tree / "runs").glob("*_numbers_*/result.json"))
    assert [json.loads(path.read_text())["size/train_pairs"] for path in results] == [80, 80]
