"""Runs of every architecture from scratch: trained, planned, exported, resumed, attacked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from retrieval.config.model import ARCHITECTURES
from retrieval.data.layout import group_tokens
from retrieval.data.tokens import load_tokenizer
from retrieval.evaluate import main
from retrieval.models.adapters import load_trained
from retrieval.models.families import build_scorer
from retrieval.pipeline import run_cell
from retrieval.search.loading import load_retriever
from sweeps.launch.facts import facts
from tests.checkpoints import checkpoint_folder
from tests.end_to_end.conftest import ROUNDINGS, Compose
from tests.end_to_end.test_run import directory_of, terminated_at, weights, without_cost
from tests.rounding import assert_vectors

SHORT = ("eval=none", "train.steps=2", "train.precision=32")
TEXTS = ["w1 w2 w3", "w7", "w4 w5 w6 w4 w9 w8 w2"]


def trained(config: DictConfig) -> Any:
    """The scorer of a finished run by its checkpoint, and its tokenizer."""
    directory = directory_of(config)
    tokenizer = load_tokenizer(directory.model)
    scorer = build_scorer(config.model, tokenizer, config.seed, "32").eval()
    state = torch.load(directory.checkpoints / "last.ckpt", weights_only=True)["state_dict"]
    load_trained(scorer, {name.removeprefix("encoder."): value for name, value in state.items()})
    return scorer, tokenizer


def assert_the_export_is_what_was_trained(config: DictConfig) -> None:
    scorer, tokenizer = trained(config)
    ids = tokenizer(TEXTS)["input_ids"]
    wanted = scorer(group_tokens(np.concatenate(ids), np.array([len(each) for each in ids]))).detach()
    found = load_retriever(str(directory_of(config).path)).encode_texts(TEXTS, "passages")
    assert_vectors(found, wanted, ROUNDINGS)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_run_from_scratch_is_planned_trained_and_exported(
    name: str, small: Compose, tmp_path: Path
) -> None:
    config = small(*SHORT, f"model.architecture={name}")
    result = run_cell(config)
    assert result["model"] == f"{name}-l2-h64"
    planned = facts(config)
    assert planned["model"] == result["model"]
    assert planned["size/params_non_embedding"] == result["size/params_non_embedding"]
    assert_the_export_is_what_was_trained(config)


ATTACK = (
    "attack=wsra",
    "attack.queries=3",
    "attack.targets=1",
    "attack.first_rank=21",
    "attack.last_rank=50",
    "attack.min_cosine=-1",
    "attack.candidates=3",
)
LORA = ("model.adapter=lora", "model.lora.rank=4")


FAST = [("llama", False, LORA), ("qwen3", True, ())]
"""Cases that every test run has."""


def start_of(name: str, saved: bool, folder: Path) -> tuple[str, ...]:
    """Options of a tiny model of an architecture, from scratch or from a folder."""
    if not saved:
        return (f"model.architecture={name}",)
    return "model.init=pretrained", f"model.pretrained={checkpoint_folder(name, folder / name)}"


CASES = [
    pytest.param(name, saved, adapter, marks=() if (name, saved, adapter) in FAST else pytest.mark.slow)
    for name in ("qwen3", "llama")
    for saved in (False, True)
    for adapter in ((), LORA)
]


@pytest.mark.parametrize(("name", "saved", "adapter"), CASES, ids=str)
def test_decoders_are_trained_resumed_to_the_bit_attacked_and_exported(
    name: str,
    saved: bool,
    adapter: tuple[str, ...],
    small: Compose,
    tmp_path: Path,
) -> None:
    options = (*start_of(name, saved, tmp_path), *adapter, *ATTACK, "train.steps=4", "train.precision=32")
    options = (*options, "model.dropout=0.1", "model.lora.dropout=0.1" if adapter else "trainer.log_every=3")
    whole, parted = small(*options), small(*options, f"runs={tmp_path / 'parted'}")
    expected = run_cell(whole)
    terminated_at(parted, 3)
    result = run_cell(parted)
    assert without_cost(result) == without_cost(expected)
    wanted, found = weights(directory_of(whole)), weights(directory_of(parted))
    assert wanted.keys() == found.keys()
    assert all(torch.equal(value, found[each]) for each, value in wanted.items())
    assert result["adv/targets"] == 3
    assert_the_export_is_what_was_trained(whole)
    planned = facts(whole)
    assert {key: result.get(key) for key in planned if key.startswith("size/")} == {
        key: value for key, value in planned.items() if key.startswith("size/")
    }
    assert ("size/params_trainable" in result) == bool(adapter)
    frozen = [each for each in found if not {"lora_A", "lora_B", "projection"} & set(each.split("."))]
    assert bool(frozen) != bool(adapter)


@pytest.mark.parametrize(
    "options",
    [
        ("strategy=adversarial", "train.mini_batch_size=6"),
        ("strategy=adversarial", "strategy.perturbation.kind=substitution", "model.architecture=llama"),
        ("strategy=pareto", "strategy.rule=guarded", "strategy.measure_every=1", "strategy.measure_pairs=32"),
        ("train.gradient_checkpointing=true", "model.architecture=qwen3"),
    ],
    ids=str,
)
def test_strategies_train_adapters(options: tuple[str, ...], small: Compose) -> None:
    config = small(*SHORT, *LORA, *options)
    result = run_cell(config)
    assert result["size/params_trainable"] < result["size/params_non_embedding"]
    assert_the_export_is_what_was_trained(config)


def test_adapters_and_checkpointing_cost_what_they_take(small: Compose) -> None:
    def flops(*options: str) -> float:
        return float(run_cell(small(*SHORT, *options))["cost/train_flops"])

    # Three passes of all weights; one more; one less, and the adapters' own few.
    plain, again, adapted = flops(), flops("train.gradient_checkpointing=true"), flops(*LORA)
    assert again == pytest.approx(4 / 3 * plain)
    assert 2 / 3 * plain < adapted < 0.8 * plain


def test_a_merged_run_is_measured_as_it_was(small: Compose, tmp_path: Path) -> None:
    config = small("train.steps=3", "train.precision=32", *LORA, "model.lora.merge=true")
    result = run_cell(config)
    run = directory_of(config)
    assert not (run.model / "adapter_model.safetensors").exists()
    assert main(["--run", str(run.path), "--out", str(tmp_path / "again.json")]) == 0
    again = json.loads((tmp_path / "again.json").read_text())
    # Vectors of both sides agree to 10⁻⁵; at temperature 0.1 a score moves by less than 2·10⁻⁵ / 0.1.
    assert again["eff/contrastive_entropy"] == pytest.approx(result["eff/contrastive_entropy"], abs=2e-4)
