"""Runs from other people's checkpoints: trained, resumed, exported, measured again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retrieval.errors import ConfigError
from retrieval.evaluate import main
from retrieval.pipeline import run_cell
from sweeps.launch.facts import facts
from tests.checkpoints import ARCHITECTURES, KINDS, folder_of_kind
from tests.end_to_end.conftest import Compose
from tests.end_to_end.test_degenerate import collection, knowing
from tests.end_to_end.test_run import terminated_at, without_cost

FAST = {
    ("t5", "prompts"),
    ("llama", "lasttoken"),
}
"""All others are tried by ``make test-slow``."""

MATRIX = [
    pytest.param(name, kind, marks=() if (name, kind) in FAST else pytest.mark.slow)
    for name in ARCHITECTURES
    for kind in KINDS
]


@pytest.mark.parametrize(("name", "kind"), MATRIX)
def test_a_run_resumes_and_its_export_is_measured_as_it_was(
    name: str, kind: str, small: Compose, tmp_path: Path
) -> None:
    folder = folder_of_kind(name, kind, tmp_path)
    options = (f"model.pretrained={folder}", "train.steps=4", "train.precision=32")
    config = small("model.init=pretrained", *options)
    terminated_at(config, 2)
    result = run_cell(config)
    whole = run_cell(small("model.init=pretrained", *options, f"runs={tmp_path / 'whole'}"))
    assert without_cost(result) == without_cost(whole)
    planned = facts(config)
    assert result["model"] == folder.name
    for key in ("size/params_non_embedding", "size/params_embedding"):
        assert result[key] == planned[key]
    run = next((tmp_path / "runs").glob("*/result.json")).parent
    assert main(["--run", str(run), "--out", str(tmp_path / "again.json")]) == 0
    again = json.loads((tmp_path / "again.json").read_text())
    # Vectors of both sides agree to 2e-5 (tests/models); at temperature 0.1 a score, and so a mean of
    # cross-entropies, moves by less than 2 · 2e-5 / 0.1.
    for key in ("eff/contrastive_entropy", "ood/contrastive_entropy"):
        assert again[key] == pytest.approx(result[key], abs=4e-4)


def test_models_of_others_are_measured_in_fp32_unless_another_precision_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.run.hardware.faster_precision", lambda cache: "bf16")
    model = str(knowing(tmp_path / "bert"))
    folder = collection(tmp_path / "texts", test=[(f"q{n}", f"p{n}") for n in range(10)])
    found = {}
    for name, more in (("auto", []), ("32", ["train.precision=32"]), ("bf16", ["train.precision=bf16"])):
        options = ["data=local", f"data.path={folder}", "eval.negatives=5", f"cache={tmp_path}", *more]
        assert main(["--model", model, *options, "--out", str(tmp_path / "out.json")]) == 0
        found[name] = json.loads((tmp_path / "out.json").read_text())["eff/contrastive_entropy"]
    assert found["auto"] == found["32"] != found["bf16"]


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
