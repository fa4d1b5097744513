"""A family that scores otherwise than by inner products: all that works on scores takes it as it is.

``max-sim``: a vector a token; each token of a query finds its most similar one of the passage (ColBERT,
Khattab and Zaharia 2020, arXiv 2004.12832). Nothing outside this file knows of it.
"""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval import evaluate
from retrieval.config import ModelConfig
from retrieval.data.layout import TokenBatch, group_tokens
from retrieval.errors import ConfigError
from retrieval.evaluation.adversarial.records import load_attacked
from retrieval.models.families import build_scorer
from retrieval.models.scorer import Scorer, stacked
from retrieval.pipeline import run_cell
from retrieval.run.identity import identity
from retrieval.search.ranking import top_k
from retrieval.training.losses import contrastive_loss
from tests.end_to_end.conftest import ATTACK, SMALL, composed
from tests.end_to_end.test_run import directory_of
from tests.models.conftest import SMALL_ROUNDINGS
from tests.rounding import assert_gradients, assert_scores, max_sim_scale

SIZE = 8
FAMILY = "model.family=max-sim"
SHORT = ("data.max_query_length=10", "data.max_passage_length=20", "trainer.threads=1")
"""Scores of a step are a number for every pair of tokens."""


class MaxSim(Scorer):
    """Rows are token vectors ``[width, 9]``; the last number of one is 1, that of padding 0."""

    family = "max-sim"

    def __init__(self, backbone: nn.Module, config: ModelConfig, precision: str = "32") -> None:
        super().__init__(backbone, config, precision)
        self.projection = nn.Linear(self.hidden, SIZE)

    def encode(self, tokens: TokenBatch, offset: Tensor | None = None) -> Tensor:
        rows = []
        for block in self.states(tokens, offset):
            states = block.values[:, : block.longest].float()
            vectors = F.pad(F.normalize(self.projection(states), dim=-1), (0, 1), value=1.0)
            rows.append(vectors if block.mask is None else vectors * block.mask[:, : block.longest, None])
        return tokens.by_caller(stacked(rows))

    def scores(self, queries: Tensor, passages: Tensor) -> Tensor:
        similarity = torch.einsum("qid,pjd->qpij", queries[..., :SIZE], passages[..., :SIZE])
        best = similarity.masked_fill(passages[None, :, None, :, SIZE] == 0, -math.inf).amax(-1)
        return (best * queries[:, None, :, SIZE]).sum(-1)

    def row_shape(self, length: int) -> tuple[int, ...]:
        return (length, SIZE + 1)

    def export(self, tokenizer: Any, lengths: tuple[int, int], folder: Path) -> None:
        folder.mkdir()
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / "weights")
        tokenizer.save_pretrained(folder)


def by_hand(query: np.ndarray, passage: np.ndarray) -> float:
    query, passage = (row[row[:, SIZE] == 1, :SIZE] for row in (query, passage))
    return float((query @ passage.T).max(1).sum())


@pytest.fixture
def scorer(tokenizer: Any) -> Scorer:
    shape = ModelConfig(family="max-sim", layers=2, hidden=64, heads=2, init="scratch")
    return build_scorer(shape, tokenizer, seed=3, precision="32").eval()


def batch_of(texts: list[str], tokenizer: Any) -> TokenBatch:
    encoded = tokenizer(texts, truncation=True, max_length=24)["input_ids"]
    return group_tokens(np.concatenate(encoded), np.array([len(ids) for ids in encoded]), group_cost=8)


@torch.no_grad()
def test_scores_anywhere_are_the_familys_own(scorer: Scorer, texts: list[str], tokenizer: Any) -> None:
    rows = scorer(batch_of(texts[:50], tokenizer)).numpy()
    queries, passages, scores = rows[:10], rows[10:], scorer.host_scores()
    expected = np.array([[by_hand(query, passage) for passage in passages] for query in queries])
    # All start from the same vectors: products of tokens are added up.
    terms, scale = SIZE + rows.shape[1], max_sim_scale(queries[..., :SIZE], passages[..., :SIZE])
    close = partial(assert_scores, roundings=terms)
    close(scores.matrix(queries, passages), expected, scale=scale)
    close(scores.pairs(queries, passages[:10]), np.diag(expected), scale=np.diag(scale))
    columns = np.array([[3, -1, 39]] * 10)
    listed = scores.listed(queries, passages, columns)
    assert np.isneginf(listed[:, 1]).all()
    close(listed[:, [0, 2]], expected[:, [3, 39]], scale=scale[:, [3, 39]])
    found = top_k(queries, passages, 5, chunk=7, scores=scores)
    # The n-th highest score moves no further than the score that moves most.
    close(found.scores, -np.sort(-expected)[:, :5], scale=scale.max(axis=1, keepdims=True))
    # A score over the root of two others, each of which is as large as its scale.
    assert_scores(scores.cosines(passages, passages), np.ones(40), 2 * terms, 1)


def test_gradients_are_cached(scorer: Scorer, texts: list[str], tokenizer: Any) -> None:
    found = []
    for size in (None, 7):
        scorer.mini_batch_size = size
        scorer.zero_grad()
        rows = scorer(batch_of(texts[:40], tokenizer))
        scores = scorer.scores(rows[:20], rows[20:])
        contrastive_loss(scores, torch.arange(20), torch.zeros(20, 20, dtype=torch.bool)).backward()
        found.append([p.grad.clone() for p in scorer.parameters() if p.grad is not None])
    assert_gradients(found[1], found[0], SMALL_ROUNDINGS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("strategy=adversarial", "eval.untrained=true", "train.mini_batch_size=6", *ATTACK),
        ("strategy=hard-negative", "strategy.hard.refresh=6", "eval.shard=70"),
        ("strategy=pareto", "strategy.rule=guarded", "strategy.measure_every=3", "strategy.measure_pairs=32"),
    ],
    ids=lambda options: options[0],
)
def test_a_run_trains_is_measured_attacked_and_exported(tmp_path: Path, options: tuple[str, ...]) -> None:
    places = (f"runs={tmp_path / 'runs'}", f"cache={tmp_path / 'cache'}")
    config = composed(*SMALL, *SHORT, *places, FAMILY, *options)
    result = run_cell(config)
    assert result["model_family"] == "max-sim"
    assert 0 < result["eff/contrastive_entropy"] < math.log(33) + 1
    assert result["cost/train_flops"] > 0
    folder = directory_of(config).path
    trained = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    exported = load_file(folder / "model" / "weights")
    assert all(torch.equal(trained[f"encoder.{name}"], value) for name, value in exported.items())
    again = tmp_path / "again.json"
    assert evaluate.main(["--run", str(folder), f"cache={tmp_path / 'cache'}", "--out", str(again)]) == 0
    measured = json.loads(again.read_text())
    names = [f"{side}/{name}" for side in ("eff", "ood") for name in ("contrastive_entropy", "ndcg@10")]
    assert {name: measured[name] for name in names} == {name: result[name] for name in names}
    if "attack=wsra" in options:
        assert result["adv/targets"] == len(load_attacked(folder / "attack.jsonl"))
        assert math.isfinite(result["untrained/eff/contrastive_entropy"])
        assert result["adv/rank_after"] <= result["adv/rank_before"]


def test_a_family_is_part_of_the_identity_but_a_dual_encoders_is_not() -> None:
    plain, named = composed(*SMALL), composed(*SMALL, "model.family=dual-encoder")
    assert "family" not in identity(plain, "data")["model"]
    assert identity(plain, "data") == identity(named, "data")
    assert identity(composed(*SMALL, FAMILY), "data")["model"]["family"] == "max-sim"


def test_an_unknown_family_is_one_line(tmp_path: Path) -> None:
    config = composed(*SMALL, f"runs={tmp_path / 'runs'}", "model.family=oracle")
    with pytest.raises(ConfigError, match=r"family=oracle is not known; valid: .*dual-encoder, .*max-sim"):
        run_cell(config)
    assert not (tmp_path / "runs").exists()
