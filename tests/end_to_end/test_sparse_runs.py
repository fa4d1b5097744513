"""Runs of ``model.family=sparse``: what the result says, plans, strategies, resumes, devices, other tools."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from retrieval import evaluate
from retrieval.data.sources import prepare
from retrieval.pipeline import run_cell
from retrieval.run.directory import RunDirectory
from sweeps.launch.contents import read_contents
from sweeps.launch.facts import facts
from sweeps.launch.workload import workload
from tests.end_to_end.conftest import ATTACK, Compose
from tests.end_to_end.test_run import directory_of

FAMILY = ("model.family=sparse", "trainer.threads=1", "train.precision=32")
# Every text is longer than these, so all are of one length and the plan can be exact.
LENGTHS = ("data.max_query_length=4", "data.max_passage_length=8")


def test_a_run_is_planned_and_says_how_sparse_it_is(small: Compose) -> None:
    config = small(*FAMILY, *LENGTHS, "train.steps=4")
    result = run_cell(config)
    assert result["model_family"] == "sparse"
    planned = workload(config, read_contents(config))
    assert 4 * planned.step_flops == pytest.approx(result["cost/train_flops"], rel=1e-9)
    sizes = {key: value for key, value in facts(config).items() if key.startswith("size/params")}
    words = result["size/params_embedding"] // (64 + 1)  # a vector and a bias for each
    assert sizes["size/params_non_embedding"] == result["size/params_non_embedding"]
    assert 0 < result["sparse/query_active"] < words
    assert 0 < result["sparse/passage_active"] < words
    active = result["sparse/passage_active"] * result["eval/pool"]
    assert result["cost/index_bytes"] == pytest.approx(8 * active)
    most = min(result["sparse/query_active"], result["sparse/passage_active"])
    assert 0 < result["sparse/flops"] <= most
    lines = directory_of(config).metrics()
    assert lines[0]["train/regularisation"] >= 0
    again = directory_of(config).path / "again.json"
    assert evaluate.main(["--run", str(directory_of(config).path), "--out", str(again)]) == 0
    measured = json.loads(again.read_text())
    names = [f"{side}/{name}" for side in ("eff", "ood") for name in ("contrastive_entropy", "ndcg@10")]
    names += ["sparse/query_active", "sparse/passage_active", "sparse/flops", "cost/index_bytes"]
    assert {name: measured[name] for name in names} == {name: result[name] for name in names}


def test_the_regulariser_makes_vectors_sparser(small: Compose) -> None:
    def active(*options: str) -> float:
        return float(run_cell(small(*FAMILY, "train.lr=0.005", *options))["sparse/passage_active"])

    weights = ("model.passage_regularisation=1", "model.query_regularisation=1")
    assert active(*weights) < 0.7 * active("model.regulariser=none")


def test_equal_scores_are_chance(small: Compose) -> None:
    # So strong a regulariser leaves no word active.
    weights = ("model.passage_regularisation=1e4", "model.query_regularisation=1e4", "train.lr=0.05")
    result = run_cell(small(*FAMILY, *weights, "train.steps=30", "model.regularisation_steps=0"))
    assert result["sparse/passage_active"] == 0
    assert result["eff/contrastive_entropy"] == pytest.approx(math.log(1 + 32))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("strategy=pareto", "strategy.rule=fixed", "strategy.omega=0.5", "strategy.mixing=loss"),
        ("strategy=adversarial", "eval.untrained=true", "train.mini_batch_size=6", *ATTACK),
        ("strategy=hard-negative", "strategy.hard.refresh=6", "eval.shard=70", "model.regulariser=l1"),
    ],
    ids=lambda options: options[0],
)
def test_strategies_and_attacks(small: Compose, options: tuple[str, ...]) -> None:
    config = small(*FAMILY, *options)
    result = run_cell(config)
    assert 0 < result["eff/contrastive_entropy"] < math.log(33) + 1
    again = directory_of(config).path / "again.json"
    assert evaluate.main(["--run", str(directory_of(config).path), "--out", str(again)]) == 0
    measured = json.loads(again.read_text())
    for name in ("eff/contrastive_entropy", "eff/ndcg@10", "sparse/flops"):
        assert measured[name] == result[name]
    if "attack=wsra" in options:
        assert math.isfinite(result["untrained/eff/contrastive_entropy"])
        assert result["adv/rank_after"] <= result["adv/rank_before"]


@pytest.mark.slow
def test_two_devices_give_the_trace_of_one(small: Compose, tmp_path: Path) -> None:
    found = []
    options = (*FAMILY, "model.query_regularisation=0.1", "model.passage_regularisation=0.1")
    for devices in (1, 2):
        runs = tmp_path / f"on-{devices}"
        result = run_cell(small(*options, f"runs={runs}", f"trainer.devices={devices}"))
        lines = RunDirectory(runs / result["run"]).metrics()
        found.append([{k: v for k, v in line.items() if "second" not in k} for line in lines])
    for ours, theirs in zip(*found, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    assert found[0][-1]["train/regularisation"] > 0


@pytest.mark.slow
def test_metrics_are_those_of_sentence_transformers(small: Compose, tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator

    from retrieval.data.collection import open_collection

    trained = small(*FAMILY, "eval=none")
    run_cell(trained)
    folder = directory_of(trained).model
    data = [
        f"data.{key}={trained.data[key]}" for key in ("passages", "queries", "topics", "words", "vocabulary")
    ]
    out = tmp_path / "measured.json"
    arguments = ["data=synthetic", *data, "eval=full", "eval.negatives=32", f"cache={trained.cache}"]
    assert evaluate.main(["--model", str(folder), *arguments, "--device", "cpu", "--out", str(out)]) == 0
    measured = json.loads(out.read_text())
    collection = open_collection(prepare(trained.data, Path(trained.cache)).in_domain, Path(trained.cache))
    judged = collection.judgements("test")
    query_ids, passage_ids = (
        list(collection.query_ids(np.unique(judged.query_rows))),
        [str(name) for name, _ in collection.passages()],
    )
    queries = dict(zip(query_ids, collection.query_texts(np.unique(judged.query_rows)), strict=True))
    corpus = dict(zip(passage_ids, collection.passage_texts(np.arange(len(passage_ids))), strict=True))
    relevant: dict[str, set[str]] = {}
    pairs = zip(
        collection.query_ids(judged.query_rows), collection.passage_ids(judged.passage_rows), strict=True
    )
    for query, passage in pairs:
        relevant.setdefault(query, set()).add(passage)
    judge = SparseInformationRetrievalEvaluator(queries, corpus, relevant, write_csv=False, name="x")
    theirs = judge(SparseEncoder(str(folder), device="cpu"))
    assert measured["eff/ndcg@10"] == pytest.approx(theirs["x_dot_ndcg@10"], abs=1e-4)
    assert measured["eff/mrr@10"] == pytest.approx(theirs["x_dot_mrr@10"], abs=1e-4)
