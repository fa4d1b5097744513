"""The untrained encoder beside a run: measured once for all runs that start from the same weights."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from retrieval import evaluate
from retrieval.config.validation import validate
from retrieval.evaluation import measuring
from retrieval.evaluation.suite import build_sets, evaluate_suite
from retrieval.models.families import build_scorer
from retrieval.pipeline import run_cell
from retrieval.run.identity import changed_key, identity
from retrieval.search.retriever import ScorerRetriever
from retrieval.training.prepared import prepare
from tests.checkpoints import checkpoint_folder
from tests.end_to_end.conftest import Compose
from tests.end_to_end.test_run import directory_of

ROW = "untrained/"


def rows(result: dict[str, Any]) -> dict[str, float]:
    return {key.removeprefix(ROW): value for key, value in result.items() if key.startswith(ROW)}


def test_initial_weights_are_measured_as_the_run_is_and_once_for_a_sweep(
    small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("eval.untrained=true", f"cache={tmp_path / 'cache'}", "train.steps=4")
    config = small(*options)
    result = run_cell(config)
    found = rows(result)
    assert set(found) == {key for key in result if key.startswith(("eff/", "ood/"))}
    assert result["eff/contrastive_entropy"] < found["eff/contrastive_entropy"] <= math.log(33) + 0.5

    # By hand: the weights that the seed gives, never trained.
    cell, data = validate(config), prepare(validate(config))
    precision = json.loads((directory_of(config).path / "manifest.json").read_text())["precision"]
    encoder = build_scorer(cell.model, data.tokenizer, cell.seed, precision)
    sets = build_sets(data.in_domain, data.ood, cell.eval)
    expected = evaluate_suite(ScorerRetriever(encoder, data.store), sets, cell.eval, Path(cell.cache)).metrics
    assert found == pytest.approx({key: expected[key] for key in found}, rel=1e-5)

    # Another strategy and fraction start from the same weights, another seed does not.
    with monkeypatch.context() as patch:
        patch.setattr(measuring, "build_scorer", lambda *_: pytest.fail("measured again"))
        assert rows(run_cell(small(*options, "strategy=pareto", "data.frac=0.5"))) == found
        out = tmp_path / "out.json"
        arguments = ["--run", str(directory_of(config).path), "--out", str(out)]
        assert evaluate.main(arguments) == 0, capsys.readouterr().err
        assert rows(json.loads(out.read_text())) == found
    other = rows(run_cell(small(*options, "seed=2")))
    assert other["eff/contrastive_entropy"] != found["eff/contrastive_entropy"]

    # What is not measured yet is measured from the run's own record.
    assert evaluate.main([*arguments, *("eval.untrained=true", "eval.negatives=16", "eval.pool=150")]) == 0
    again = rows(json.loads(out.read_text()))
    assert again["eff/contrastive_entropy"] < found["eff/contrastive_entropy"]
    assert np.isfinite(list(again.values())).all()


def test_a_checkpoint_is_measured_once_for_all_seeds(
    small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint_folder("bert", tmp_path / "bert")
    start = ("model=bert", "model.init=pretrained", f"model.pretrained={folder}", "train.steps=2")
    options = (*start, "eval.untrained=true", f"cache={tmp_path / 'cache'}")
    found = rows(run_cell(small(*options)))
    with monkeypatch.context() as patch:
        patch.setattr(measuring, "build_scorer", lambda *_: pytest.fail("measured again"))
        assert rows(run_cell(small(*options, "seed=2"))) == found
    # A random projection behind it is drawn from the seed.
    projected = [rows(run_cell(small(*options, "model.projection=8", f"seed={seed}"))) for seed in (1, 2)]
    assert projected[0]["eff/contrastive_entropy"] != projected[1]["eff/contrastive_entropy"]


def test_a_run_without_the_row_is_the_run_it_was_before_there_was_one(small: Compose, tmp_path: Path) -> None:
    config = small()
    plain = identity(config, "data")
    OmegaConf.save(config, tmp_path / "config.yaml", resolve=True)
    assert changed_key(tmp_path / "config.yaml", config) is None
    assert changed_key(tmp_path / "config.yaml", small("eval.untrained=true")) == "eval.untrained"
    assert not {"shard", "untrained"} & set(plain["eval"])
    assert identity(small("eval.shard=10"), "data") == plain
    assert identity(small("eval.untrained=true"), "data") != plain
    assert validate(small("eval=full")).eval.untrained
    assert not validate(config).eval.untrained
