"""Runs from other people's checkpoints: trained, resumed, exported, measured again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retrieval.errors import ConfigError
from retrieval.evaluate import main
from retrieval.pipeline import run_cell
from sweeps.launch.facts import facts
from tests.checkpoints import checkpoint_folder
from tests.end_to_end.conftest import Compose
from tests.end_to_end.test_run import _raise_signal_at


@pytest.mark.parametrize("name", ["roberta", "t5", "llama", "gpt2", "albert"])
def test_a_run_resumes_and_its_export_is_measured_as_it_was(
    name: str, small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint_folder(name, tmp_path / name)
    config = small(
        "model.init=pretrained", f"model.pretrained={folder}", "train.steps=4", "train.precision=32"
    )
    with monkeypatch.context() as patch:
        _raise_signal_at(patch, 2)
        with pytest.raises(SystemExit):
            run_cell(config)
    result = run_cell(config)
    planned = facts(config)
    assert result["model"] == name
    for key in ("size/params_non_embedding", "size/params_embedding"):
        assert result[key] == planned[key]
    run = next((tmp_path / "runs").glob("*/result.json")).parent
    assert main(["--run", str(run), "--out", str(tmp_path / "again.json")]) == 0
    again = json.loads((tmp_path / "again.json").read_text())
    # Vectors of both sides agree to 2e-5 (tests/models); at temperature 0.1 a score, and so a mean of
    # cross-entropies, moves by less than 2 · 2e-5 / 0.1.
    for key in ("eff/contrastive_entropy", "ood/contrastive_entropy"):
        assert again[key] == pytest.approx(result[key], abs=4e-4)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("broken-weights/hf_bert_lfs", "cannot load it"),
        ("broken-weights/hf_bert_trunc", "cannot load it"),
        ("broken-weights/hf_bert_mismatch", "has shape"),
        ("short-positions/hf_bert_pos32", "data.max_query_length=48 is above the 32 positions"),
    ],
)
def test_shared_cases_are_refused(case: str, words: str, small: Compose, shared: Path) -> None:
    options = ("model.init=pretrained", f"model.pretrained={shared / 'cases' / case}", "train.steps=1")
    with pytest.raises(ConfigError, match=words):
        run_cell(small(*options, "data.max_query_length=48"))
