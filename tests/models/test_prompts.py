"""Prompts of a configuration and of a checkpoint, and texts that a tokenizer pads on the left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as library

from retrieval.config import ModelConfig
from retrieval.models.checkpoint import checkpoint_of, prompts_of
from retrieval.pipeline import run_cell
from retrieval.search.loading import run_stores
from retrieval.search.sentence_transformer import sentence_transformer_retriever
from retrieval.training.prepared import prepare
from tests.checkpoints import TEXTS, checkpoint_folder
from tests.end_to_end.conftest import Compose, small
from tests.end_to_end.test_run import directory_of
from tests.models.conftest import SMALL_ROUNDINGS
from tests.models.test_foreign_checkpoints import assert_equal_to_the_library
from tests.rounding import assert_vectors
from tests.test_runs import make_config

__all__ = ["small"]


def folder_with(prompts: dict[str, str], architecture: str, folder: Path, pooling: str = "mean") -> Path:
    plain = checkpoint_folder(architecture, folder / "plain")
    parts: list[Any] = [library.Transformer(str(plain)), library.Pooling(32, pooling_mode=pooling)]
    made = SentenceTransformer(modules=parts, prompts=prompts, device="cpu")
    made.save(str(folder / "made"), create_model_card=False)
    return folder / "made"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("find: ", "text: ")),
        ({"query_prompt": "query: "}, ("query: ", "text: ")),
        ({"query_prompt": "", "passage_prompt": "passage: "}, ("", "passage: ")),
    ],
)
def test_a_key_stands_above_the_checkpoint(
    given: dict[str, str], expected: tuple[str, str], tmp_path: Path
) -> None:
    folder = folder_with({"query": "find: ", "document": "text: "}, "bert", tmp_path)
    config = ModelConfig(init="pretrained", pretrained=str(folder), **given)  # type: ignore[arg-type]
    assert prompts_of(config, checkpoint_of(config)) == expected


def test_prompts_of_a_run_are_read_before_each_text_and_exported(small: Compose) -> None:
    options = ("model.query_prompt='w1 w2 '", "model.passage_prompt='w3 '", "eval=none", "train.steps=1")
    config = small(*options)
    run_cell(config)
    directory = directory_of(config)
    stores, plain = run_stores(directory.path, config), prepare(small()).store
    for side, text in (("queries", "w1 w2 w9"), ("passages", "w3 w9")):
        found = stores.tokenize(["w9"], side)["input_ids"]  # type: ignore[arg-type]
        assert found == plain.tokenize([text], side)["input_ids"]  # type: ignore[arg-type]
    exported = SentenceTransformer(str(directory.model), device="cpu")
    assert {name: exported.prompts[name] for name in ("query", "document")} == {
        "query": "w1 w2 ",
        "document": "w3 ",
    }
    retriever = sentence_transformer_retriever(directory.model, similarity="dot", device="cpu")
    read = prepare(config).store
    assert read.prompts == ("w1 w2 ", "w3 ")
    collection = prepare(config).in_domain
    assert read(collection, "queries").folder != plain(collection, "queries").folder
    wanted = exported.encode(["w3 w9"], prompt="")
    assert_vectors(retriever.encode_texts(["w9"], "passages"), wanted, SMALL_ROUNDINGS)


def test_prompts_identify_a_run_where_they_are_set() -> None:
    from retrieval.run.identity import identity

    keys = {"query_prompt", "passage_prompt", "architecture"}
    assert not keys & identity(make_config(), "f")["model"].keys()
    assert identity(make_config(model__query_prompt=""), "f")["model"]["query_prompt"] == ""
    changed = make_config(model__passage_prompt="passage: ", model__architecture="llama")
    assert keys - {"query_prompt"} <= identity(changed, "f")["model"].keys()


@pytest.mark.parametrize("architecture", ["qwen3", "llama"])
@pytest.mark.parametrize("pooling", ["lasttoken", "mean"])
def test_a_folder_that_pads_on_the_left_gives_its_vectors(
    architecture: str, pooling: str, tmp_path: Path
) -> None:
    folder = folder_with({}, architecture, tmp_path, pooling)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"padding_side": "left"}))
    model = SentenceTransformer(str(folder), device="cpu")
    mask = model.preprocess(TEXTS)["attention_mask"]
    assert not mask[0, 0]
    assert mask[:, -1].all()
    assert_equal_to_the_library(folder, tmp_path)
