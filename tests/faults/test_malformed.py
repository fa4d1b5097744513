"""Malformed configurations, collections, checkpoints and records: one line each, and never a wrong result."""

from __future__ import annotations

import json
import math
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from retrieval.config import Config, register_schema
from retrieval.config.validation import validate
from retrieval.data.collection import Collection, open_collection
from retrieval.data.sources.synthetic import SyntheticConfig, prepare
from retrieval.errors import ConfigError, ParetrieveError, TrainingError
from retrieval.evaluation.adversarial.records import Attacked, Edit, load_attacked, save_attacked
from retrieval.run.identity import identity
from retrieval.run.messages import explain
from retrieval.training.checkpoints import Checkpoints
from retrieval.training.omega.target import load_target
from sweeps.cli import main
from tests.conftest import REPOSITORY
from tests.faults.fuzz import BAD_VALUES, BAD_WORDS, copy_tree, damage_bytes, damage_file, keys_of

CASES = {"configurations": 50, "collections": 200, "checkpoints": 60}
"""Damaged ones in the quick tests; beside them 72 frontiers, 60 attacks and 120 records of runs."""

REFUSED = {"configurations": 0.7, "collections": 0.75, "checkpoints": 0.8}
"""Share of them that is refused at least; of the others it is checked that the damage changed nothing."""

MANY = pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])


def test_more_than_two_hundred_are_refused() -> None:
    assert sum(CASES[kind] * REFUSED[kind] for kind in CASES) >= 200


def check_line(error: ParetrieveError, names: Path) -> None:
    """One line that names the file."""
    assert len(str(error).splitlines()) == 1, str(error)
    assert str(names) in str(error), str(error)


def refusal(overrides: list[str]) -> str | None:
    """What a person would read; ``None`` when the configuration is accepted."""
    try:
        config = compose("config", overrides)
        validate(config)
        OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        identity(config, "f")
    except Exception as error:
        message = explain(error)
        if message is None:
            raise AssertionError(f"{overrides}: {error!r} is no line for people") from error
        return message
    return None


@pytest.mark.parametrize("count", [CASES["configurations"], MANY])
def test_configurations(count: int) -> None:
    dice = random.Random(count)
    keys = [f"data.{key}" for key in keys_of(SyntheticConfig)]
    keys += [key for key in keys_of(Config) if key not in ("model", "data", "strategy")]
    register_schema()
    refused = 0
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        for number in range(count):
            word = f"{dice.choice(keys)}={dice.choice(BAD_VALUES)}"
            if number % 5 == 0:
                word = BAD_WORDS[number // 5 % len(BAD_WORDS)]
            message = refusal(["data=synthetic", "logger=none", word])
            if message is not None:
                refused += 1
                assert message.strip(), word
                assert "\n" not in message, word
                assert len(message) < 8000, word
    assert refused > REFUSED["configurations"] * count


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid folder of twenty passages and queries."""
    config = SyntheticConfig(passages=20, queries=20, topics=2, words=60, domains=0)
    return prepare(config, tmp_path_factory.mktemp("cache")).in_domain


def plainly_read(folder: Path) -> tuple[list[Any], list[Any], dict[str, set[Any]]]:
    """The content by the simplest means there are."""

    def records(name: str) -> Iterator[dict[str, Any]]:
        lines = map(str.strip, (folder / name).read_bytes().decode().split("\n"))
        return (json.loads(line) for line in lines if line)

    def text(record: dict[str, Any]) -> str:
        parts = ((record.get("title") or "").strip(), record["text"].strip())
        return " ".join(part for part in parts if part)

    passages = [(record["_id"], text(record)) for record in records("corpus.jsonl")]
    queries = [(record["_id"], record["text"].strip()) for record in records("queries.jsonl")]
    pairs = {}
    for path in folder.glob("qrels/*.tsv"):
        rows = [line.rstrip("\r").split("\t") for line in path.read_bytes().decode().split("\n")[1:] if line]
        pairs[path.stem] = {(query, passage, int(score)) for query, passage, score in rows if int(score) > 0}
    return passages, queries, pairs


def read(found: Collection) -> tuple[list[Any], list[Any], dict[str, set[Any]]]:
    pairs = {}
    for split in found.splits:
        judged = found.judgements(split)
        ids = found.query_ids(judged.query_rows), found.passage_ids(judged.passage_rows)
        pairs[split] = set(zip(*ids, judged.grades.tolist(), strict=True))
    return list(found.passages()), list(found.queries()), pairs


@pytest.mark.parametrize("count", [CASES["collections"], MANY])
def test_collections(collection: Path, tmp_path: Path, count: int) -> None:
    dice = random.Random(count)
    names = ["corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/dev.tsv", "qrels/test.tsv"]
    refused = 0
    for number in range(count):
        folder = copy_tree(collection, tmp_path / f"damaged-{number}")
        damage_file(folder / dice.choice(names), dice)
        try:
            found = read(open_collection(folder, tmp_path / "cache"))
        except ParetrieveError as error:
            refused += 1
            check_line(error, names=folder)
            continue
        expected = plainly_read(folder)
        # A training pair whose passage has no text is dropped and counted.
        empty = {identifier for identifier, text in expected[0] if not text}
        if "train" in expected[2]:
            expected[2]["train"] = {pair for pair in expected[2]["train"] if pair[1] not in empty}
        assert found == expected, folder
    assert refused > REFUSED["collections"] * count


class Small(pl.LightningModule):
    """Something that has a state."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(width, 4)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """Two checkpoints, after one and two steps."""
    found = Checkpoints(tmp_path / "checkpoints")
    found.folder.mkdir()
    for step, path in ((1, found.previous), (2, found.last)):
        torch.save({"state_dict": Small().state_dict(), "global_step": step, "callbacks": {}}, path)
    return found


@pytest.mark.parametrize("count", [CASES["checkpoints"], MANY])
def test_checkpoints(checkpoints: Checkpoints, count: int) -> None:
    dice = random.Random(count)
    whole = checkpoints.last.read_bytes()
    state = torch.load(checkpoints.last, weights_only=True)["state_dict"]
    passed_over = 0
    for _ in range(count):
        checkpoints.last.write_bytes(damage_bytes(whole, dice))
        path = checkpoints.newest()
        assert path is not None
        if path == checkpoints.previous:
            passed_over += 1
            continue
        found = torch.load(path, weights_only=True)  # the change was in no byte that counts
        assert found["global_step"] == 2
        assert all(torch.equal(found["state_dict"][name], value) for name, value in state.items())
    assert passed_over > REFUSED["checkpoints"] * count


def test_what_is_no_checkpoint_is_passed_over(checkpoints: Checkpoints) -> None:
    for content in ({"a": 1}, [1], torch.zeros(3), {"state_dict": {}}):
        torch.save(content, checkpoints.last)
        assert checkpoints.newest() == checkpoints.previous
    checkpoints.previous.write_bytes(b"")
    assert checkpoints.newest() is None
    assert checkpoints.step(Small()) == 0


def test_a_checkpoint_of_another_model_is_refused(checkpoints: Checkpoints) -> None:
    assert checkpoints.step(Small()) == 2
    with pytest.raises(TrainingError, match=r"CHECKPOINT_MISMATCH: .*delete"):
        checkpoints.step(Small(width=9))


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_a_checkpoint_with_code_is_passed_over_and_not_run(checkpoints: Checkpoints, tmp_path: Path) -> None:
    state = {"state_dict": {}, "global_step": 9, "bad": Payload(tmp_path / "executed")}
    torch.save(state, checkpoints.last)
    assert checkpoints.newest() == checkpoints.previous
    torch.save(state, checkpoints.last, _use_new_zipfile_serialization=False)
    assert checkpoints.newest() == checkpoints.previous
    checkpoints.last.write_bytes(pickle.dumps(state))
    assert checkpoints.newest() == checkpoints.previous
    assert not (tmp_path / "executed").exists()


def test_frontiers(tmp_path: Path) -> None:
    dice = random.Random(3)
    path = tmp_path / "frontier.json"
    whole = json.dumps(
        {
            "x": "dev/eff/contrastive_entropy",
            "y": "dev/ood/contrastive_entropy",
            "knee": {"x": 1.5, "y": 2.5},
            "groups": [{"where": {"model": "bert-tiny"}, "knee": {"x": 1, "y": 2}, "points": []}],
            "points": [{"x": 1.5, "y": 2.5, "non_dominated": True}],
        }
    ).encode()
    samples = [damage_bytes(whole, dice) for _ in range(60)]
    samples += [whole.replace(b"2.5", value) for value in (b"Infinity", b"NaN", b"-1", b"0", b"[]", b"1e999")]
    samples += [b"[" * 100_000, b'{"a":' * 100_000, b"null", b"[]", b"1", b'""']
    for data in samples:
        path.write_bytes(data)
        try:
            target = load_target(str(path))
        except ConfigError as error:
            check_line(error, names=path)
            continue
        assert 0 < target.ratio < math.inf
        assert 0 < target.initial_omega < 1


def test_attacked_passages(tmp_path: Path) -> None:
    dice = random.Random(4)
    path = tmp_path / "attack.jsonl"
    words = (Edit(0, "old", "new"),)
    save_attacked([Attacked("q1", f"p{n}", 60, 10, 0.9, words, "old text", "new text") for n in (1, 2)], path)
    whole = path.read_bytes()
    for _ in range(60):
        path.write_bytes(damage_bytes(whole, dice))
        try:
            found = load_attacked(path)
        except ParetrieveError as error:
            check_line(error, names=path)
            continue
        assert all(entry.new_text == "new" + entry.old_text[3:] for entry in found if entry.words)


STATUS_VALUES = (None, "x", -1, 1.5, [], {}, True, "9" * 400, 10**30, ["a"], {"message": 3}, "\x1b[31m")


@pytest.mark.parametrize("seed", range(3))
def test_records_of_runs(tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    dice = random.Random(seed)
    status = {"state": "failed", "step": 1, "steps": 2, "started": "2026-01-01T00:00:00+00:00", "pid": 1}
    status |= {"updated": "x", "error": {"type": "E", "message": "m"}, "phase": "train", "host": "h"}
    for number in range(40):
        folder = tmp_path / "runs" / f"run-{number}"
        folder.mkdir(parents=True)
        key = dice.choice([*status, "finished", "process_started", "first_step"])
        changed = {
            **status,
            "state": dice.choice(["failed", "running", "done"]),
            key: dice.choice(STATUS_VALUES),
        }
        text = json.dumps(changed).encode()
        (folder / "status.json").write_bytes(damage_bytes(text, dice) if number % 3 == 0 else text)
        (folder / "result.json").write_bytes(damage_bytes(b'{"eff/ndcg@10": 0.5, "model": "m"}', dice))
        (folder / "metrics.jsonl").write_bytes(damage_bytes(b'{"step": 1, "train/loss": 2.0}\n', dice))
    sweep = tmp_path / "runs" / ".sweeps" / "now"
    sweep.mkdir(parents=True)
    (sweep / "sweep.json").write_text(json.dumps({"cells": dice.choice([None, 3, ["x"], [{"run": "../x"}]])}))
    for arguments in (["status"], ["clean", "--yes"], ["collect", "--out", str(tmp_path / "table.csv")]):
        status_code = main([*arguments, "--runs", str(tmp_path / "runs")])
        assert status_code in (0, 1, 2)
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err


def test_arrays_with_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([Payload(tmp_path / "executed")], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="objects"):
        np.load(tmp_path / "a.npy", mmap_mode="r")
    assert not (tmp_path / "executed").exists()
