"""Small inputs of other people on which the product once failed: each gives the right result or one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.config.validation import validate
from retrieval.errors import ConfigError, DataError
from retrieval.evaluate import main as evaluate
from retrieval.pipeline import run_cell
from retrieval.run.messages import explain, prepared
from sweeps.cli import main as sweeps
from sweeps.launch.facts import facts
from tests.end_to_end.conftest import Compose, composed

Case = Callable[[str], Path]
PRETRAINED = ("model.init=pretrained", "train.steps=1", "train.precision=32")

TRAINABLE = (
    "st-modules-dropped/st_cls_dense_norm",
    "st-modules-dropped/st_prompts",
    "no-pad-token/hf_llama_nopad",
    "t5-encoder/hf_t5enc",
    "decoder-n/hf_gpt2",
    "decoder-n/hf_qwen",
    "plan-foreign-config/hf_distil",
)


@pytest.fixture
def case(shared: Path) -> Case:
    """The folder of a case."""

    def find(name: str) -> Path:
        folder = shared / "cases" / name
        if not folder.exists():
            pytest.skip(f"no {folder}")
        return folder

    return find


@pytest.mark.parametrize("name", TRAINABLE)
def test_a_folder_trains_counts_and_can_be_measured(
    name: str, case: Case, small: Compose, tmp_path: Path
) -> None:
    config = small(*PRETRAINED, f"model.pretrained={case(name)}")
    result = run_cell(config)
    assert result["model"] == Path(name).name
    planned = facts(config)
    for key in ("size/params_non_embedding", "size/params_embedding"):
        assert result[key] == planned[key]
    assert result["size/params_embedding"] > 0
    run = next((tmp_path / "runs").glob("*/result.json")).parent
    assert evaluate(["--run", str(run), "--out", str(tmp_path / "again.json")]) == 0


def test_folders_of_one_backbone_differ_by_their_modules(case: Case) -> None:
    from retrieval.search.sentence_transformer import sentence_transformer_retriever

    found = [
        sentence_transformer_retriever(case(f"st-modules-dropped/{name}"), device="cpu").encode_texts(
            ["a b c", "d"], "queries"
        )
        for name in ("st_cls_dense_norm", "st_prompts")
    ]
    assert found[0].shape != found[1].shape or np.abs(found[0] - found[1]).max() > 0.01


def test_n_of_the_plan_is_the_models_own(case: Case, small: Compose) -> None:
    folder = case("plan-foreign-config/hf_distil")
    planned = facts(small(*PRETRAINED, f"model.pretrained={folder}", "model.projection=768"))
    assert planned["size/params_non_embedding"] == 42_432  # 17,088 of the backbone


def test_positions_are_told_with_both_numbers(case: Case, small: Compose) -> None:
    folder = case("short-positions/hf_distil64")
    config = small(*PRETRAINED, f"model.pretrained={folder}", "data.max_passage_length=150")
    with pytest.raises(ConfigError, match=r"data\.max_passage_length=150 is above the 64 positions"):
        run_cell(config)


@pytest.mark.parametrize("name", ["onepair", "onequery"])
def test_what_has_no_negative_is_refused(name: str, case: Case, tmp_path: Path) -> None:
    folder = case(f"loss-zero/{name}")
    options = ("data=local", f"data.path={folder}", "model=bert-tiny", "train.steps=2", "logger=none")
    with pytest.raises(DataError, match=r"negative|one"):
        run_cell(composed(*options, f"runs={tmp_path / 'runs'}", f"cache={tmp_path / 'cache'}"))


def test_a_test_split_is_enough_to_measure(case: Case, tmp_path: Path) -> None:
    model = case("st-modules-dropped/st_prompts")
    options = ["data=local", f"data.path={case('test-only/onlytest')}", f"cache={tmp_path / 'cache'}"]
    assert evaluate(["--model", str(model), *options, "eval.negatives=1", "eval.pool=5"]) == 0


def test_retry_passes_over_what_it_cannot_read(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(case("retry-foreign/z_stepstr"), tmp_path / "runs" / "z_stepstr")
    status = sweeps(["retry", "--runs", str(tmp_path / "runs")])
    told: Any = capsys.readouterr()
    assert status == 1  # nothing was left to retry
    assert "z_stepstr" in told.out + told.err
    assert "Traceback" not in told.out + told.err


@pytest.mark.parametrize("key", ["train.warmup_steps", "eval.k", "strategy.tau", "data.foo"])
def test_a_key_that_nothing_reads_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=f"no key {key}"):
        validate(composed(f"+{key}=1"))


def test_several_values_without_m_keep_the_hint() -> None:
    with pytest.raises(Exception, match="Ambiguous") as raised:
        composed("seed=1,2")
    assert "add -m to sweep over them" in str(explain(raised.value))


def test_parts_of_splits_and_datasets_of_two_lines_are_read() -> None:
    given = ["+data.hub.squad={dataset: some/squad,\n  train: 'train[:90%]'}", "data=local", "data.path=x"]
    config = composed(*(prepared(each) for each in given))
    assert config.data.hub.squad.train == "train[:90%]"
