"""Runs of every architecture from scratch: trained, planned, exported, resumed, attacked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from retrieval.config.model import ARCHITECTURES
from retrieval.data.layout import group_tokens
from retrieval.data.tokens import load_tokenizer
from retrieval.models.families import build_scorer
from retrieval.pipeline import run_cell
from retrieval.search.loading import load_retriever
from sweeps.launch.facts import facts
from tests.end_to_end.conftest import Compose
from tests.end_to_end.test_run import directory_of

SHORT = ("eval=none", "train.steps=2", "train.precision=32")
TEXTS = ["w1 w2 w3", "w7", "w4 w5 w6 w4 w9 w8 w2"]


def trained(config: DictConfig) -> Any:
    """The scorer of a finished run by its checkpoint, and its tokenizer."""
    directory = directory_of(config)
    tokenizer = load_tokenizer(directory.model)
    scorer = build_scorer(config.model, tokenizer, config.seed, "32").eval()
    state = torch.load(directory.checkpoints / "last.ckpt", weights_only=True)["state_dict"]
    own = {name.removeprefix("encoder."): value for name, value in state.items()}
    scorer.load_state_dict(scorer.state_dict() | own)
    return scorer, tokenizer


def assert_the_export_is_what_was_trained(config: DictConfig) -> None:
    scorer, tokenizer = trained(config)
    ids = tokenizer(TEXTS)["input_ids"]
    wanted = scorer(group_tokens(np.concatenate(ids), np.array([len(each) for each in ids]))).detach()
    found = load_retriever(str(directory_of(config).path)).encode_texts(TEXTS, "passages")
    # Both are the same fp32 network in two orders of summation; vectors have the length τ^-½.
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5 * 0.1**-0.5)


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
