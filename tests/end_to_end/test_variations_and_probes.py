"""A whole run whose test queries are varied and that is probed for biases."""

from __future__ import annotations

import math
import shutil

import pandas as pd
import pytest

from retrieval.evaluation.adversarial.evaluation import AttackEvaluation
from retrieval.opened import Run
from retrieval.pipeline import run_cell
from sweeps.launch.contents import read_contents
from sweeps.launch.workload import workload
from tests.end_to_end.conftest import Compose

METRICS = ("contrastive_entropy", "ndcg@10", "mrr@10", "recall@100")
OPTIONS = ("eval.variations=[typo,case]", "eval.probes=[literal,repetition]")


@pytest.mark.slow
def test_a_run_is_varied_and_probed(small: Compose) -> None:
    plain, config = small(), small(*OPTIONS)
    before, result = run_cell(plain), run_cell(config)
    assert result["run"] != before["run"]
    own = {key: value for key, value in result.items() if key.startswith(("var/", "bias/", "bm25/var/"))}
    assert all(math.isfinite(value) for value in own.values())
    for kind in ("typo", "case"):
        assert {f"var/{kind}/{name}" for name in METRICS} < set(own)
        assert {f"bm25/var/{kind}/{name}" for name in METRICS[1:]} < set(own)
    for key in (f"{place}/{name}" for place in ("eff", "ood") for name in METRICS):
        assert result[key] == pytest.approx(before[key], rel=1e-12), key
    # The tokenizer of the collection writes all in small letters, and a mark is a token.
    assert own["var/case/changed"] == own["var/typo/changed"] == 1.0
    assert own["var/typo/contrastive_entropy"] != result["eff/contrastive_entropy"]
    assert own["bias/repetition/pairs"] == result["eval/queries"]
    for kind in ("literal", "repetition"):
        low, high = (own[f"bias/{kind}/preference/{end}"] for end in ("low", "high"))
        assert 0 <= low <= own[f"bias/{kind}/preference"] <= high <= 1
    directory = Run.open(config).directory
    queries = pd.read_parquet(directory.path / "scores" / "queries.parquet")
    varied = queries[queries["set"] == "var/typo"].set_index("query_id")["ndcg@10"]
    clean = queries[queries["set"] == "eff"].set_index("query_id")["ndcg@10"]
    assert (clean - varied).mean() == pytest.approx(own["var/typo/drop/ndcg@10"], abs=1e-6)
    assert run_cell(small("eval.variations=[case,typo]", OPTIONS[1])) == result
    planned = workload(config, read_contents(config)).evaluation_flops
    assert 0.5 < planned / result["cost/eval_flops"] < 2
    more = planned - workload(plain, read_contents(plain)).evaluation_flops
    assert 0.5 < more / (result["cost/eval_flops"] - before["cost/eval_flops"]) < 2


@pytest.mark.slow
@pytest.mark.parametrize("family", ["multi-vector", "sparse", "cross-encoder"])
def test_every_family_is_varied_and_probed(small: Compose, family: str) -> None:
    options = ("eval.pair_queries=20", "train.steps=2") if family == "cross-encoder" else ("train.steps=2",)
    config = small(f"model.family={family}", *options, *OPTIONS)
    result = run_cell(config)
    for kind in ("typo", "case"):
        assert math.isfinite(result[f"var/{kind}/contrastive_entropy"])
        low, drop, high = (result[f"var/{kind}/drop/ndcg@10{end}"] for end in ("/low", "", "/high"))
        assert low <= drop <= high
        assert drop == pytest.approx(result["eff/ndcg@10"] - result[f"var/{kind}/ndcg@10"])
    for kind in ("literal", "repetition"):
        assert 0 <= result[f"bias/{kind}/preference"] <= 1
    planned = workload(config, read_contents(config)).evaluation_flops
    assert 0.5 < planned / result["cost/eval_flops"] < 2


@pytest.mark.slow
def test_a_run_that_was_cut_off_in_its_attacks_ends_as_if_it_had_not_been(
    small: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacks = ("attack=[wsra,poison]", "attack.queries=2", "attack.targets=1", "attack.words=2")
    poison = ("attack.poison.passages=2", "attack.poison.iterations=2", "attack.poison.tokens=4")
    options = (*OPTIONS, *attacks, *poison)
    whole = run_cell(small(*options))
    directory = Run.open(small(*options)).directory
    rows = (directory.path / "attack.jsonl").read_bytes()
    shutil.rmtree(directory.path)

    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AttackEvaluation, "run", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run_cell(small(*options))
    assert directory.state() == "stopped"
    again = run_cell(small(*options))
    kept = {key for key in whole if not key.startswith("cost/") or key.endswith(("flops", "queries"))}
    assert {key: again[key] for key in kept} == {key: whole[key] for key in kept}
    assert (directory.path / "attack.jsonl").read_bytes() == rows
