"""Cross-encoders in whole runs: trained, measured by re-ranking, attacked, exported, measured again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from retrieval import evaluate
from retrieval.config.validation import validate
from retrieval.data import sources
from retrieval.data.collection import open_collection
from retrieval.data.layout import group_tokens
from retrieval.data.testset import build_evaluation_set, first_queries
from retrieval.data.tokens import train_wordpiece
from retrieval.errors import ConfigError
from retrieval.evaluation.adversarial.records import load_attacked
from retrieval.models.pairs import Template
from retrieval.pipeline import run_cell
from retrieval.run.identity import identity
from retrieval.search.reranking import with_candidates
from sweeps.launch.contents import read_contents
from sweeps.launch.facts import parameters
from sweeps.launch.workload import workload
from tests.end_to_end.conftest import ROUNDINGS, SMALL, Compose, composed
from tests.end_to_end.test_backbones import start_of, trained
from tests.end_to_end.test_run import directory_of, terminated_at, weights, without_cost
from tests.models.conftest import pair_scale
from tests.rounding import assert_entropies, assert_scores, head_scale

FAMILY = ("model.family=cross-encoder", "eval.pair_queries=6", "eval.rerank_depth=20", "trainer.threads=1")
SHORT = ("data.max_query_length=10", "data.max_passage_length=20")
ATTACK = (
    "attack=wsra",
    "attack.queries=3",
    "attack.first_rank=5",
    "attack.last_rank=20",
    "attack.min_cosine=-1",
    "attack.candidates=3",
    "attack.tries=3",
)


@pytest.mark.parametrize(
    "options",
    [
        ("strategy=standard",),
        ("strategy=pareto", "strategy.rule=fixed", "strategy.omega=0.5", "strategy.base=hard-negative"),
        pytest.param(("strategy=adversarial", "strategy.mixing=loss"), marks=pytest.mark.slow),
        pytest.param(("strategy=pooled", "train.mini_batch_size=5"), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_planned_flops_are_a_runs_own(small: Compose, options: tuple[str, ...]) -> None:
    # Every text is longer than this, so all pairs are of one length and the plan can be exact.
    lengths = ("data.max_query_length=4", "data.max_passage_length=8", "model.listed_negatives=5")
    config = small("train.steps=4", "eval=none", "strategy.hard.count=2", *lengths, *FAMILY, *options)
    result = run_cell(config)
    contents = read_contents(config)
    planned = workload(config, contents)
    assert 4 * planned.step_flops == pytest.approx(result["cost/train_flops"], rel=1e-9)
    sizes = parameters(config.model, contents.vocabulary)
    assert {name: result[name] for name in sizes} == sizes


def test_keys_of_pairs_are_part_of_their_own_familys_identity_alone(small: Compose) -> None:
    plain = identity(small(), "data")
    assert not {"listed_negatives"} & set(plain["model"])
    assert not {"pair_queries", "first_stage", "rerank_depth"} & set(plain["eval"])
    assert identity(small("eval.pair_queries=5", "eval.first_stage=other"), "data") == plain
    pairs = identity(small(*FAMILY), "data")
    assert pairs["model"]["listed_negatives"] == 7
    assert (pairs["eval"]["pair_queries"], pairs["eval"]["first_stage"]) == (6, "bm25")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((*ATTACK, "attack.similarity=0.5"), "attack.similarity=0.5: model.family=cross-encoder gives no"),
        ((*ATTACK, "attack.last_rank=40"), "attack.last_rank=40 is beyond eval.rerank_depth=20"),
        (("strategy=hard-negative", "strategy.hard.refresh=5"), "strategy.hard.refresh=5: model.family"),
        (("model.pooling=cls",), "model.pooling=cls is not read by model.family=cross-encoder"),
        (("model.listed_negatives=-1",), "model.listed_negatives=-1 is out of range"),
    ],
)
def test_what_pairs_cannot_do_is_one_line(small: Compose, options: tuple[str, ...], line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        validate(small(*FAMILY, *options))
    assert str(raised.value).startswith(line)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("strategy=adversarial", "eval.untrained=true", "train.mini_batch_size=6", *ATTACK),
        ("strategy=pareto", "strategy.rule=guarded", "strategy.measure_every=3", "strategy.measure_pairs=32"),
        ("strategy=denoising", "strategy.denoise.teacher=bm25"),
    ],
    ids=lambda options: options[0],
)
def test_a_run_is_trained_measured_attacked_and_exported(tmp_path: Path, options: tuple[str, ...]) -> None:
    places = (f"runs={tmp_path / 'runs'}", f"cache={tmp_path / 'cache'}", "train.precision=32")
    config = composed(*SMALL, *SHORT, *places, *FAMILY, *options)
    result = run_cell(config)
    assert result["model_family"] == "cross-encoder"
    assert result["eval/first_stage"] == "bm25@20"
    assert (result["eval/queries"], result["eval/draws"]) == (6, 1)
    assert 0 < result["eff/contrastive_entropy"] < math.log(33) + 1
    assert 0 < result["eff/contrastive_entropy_error"] < 1
    assert result["cost/eval_flops"] > 0
    folder = directory_of(config).path
    again = tmp_path / "again.json"
    # What the pooler gives ends in tanh: the vector is no longer than the root of its size.
    row = trained(config)[0].model.classifier.weight
    scale = head_scale(row, np.ones(row.shape))
    for source in (["--run", str(folder)], ["--model", str(folder / "model"), *_data()]):
        assert evaluate.main([*source, f"cache={tmp_path / 'cache'}", "--out", str(again)]) == 0
        measured = json.loads(again.read_text())
        for side in ("eff", "ood"):
            entropy = f"{side}/contrastive_entropy"
            assert_entropies([measured[entropy]], [result[entropy]], ROUNDINGS, scale)
            # Ranks are the same, or differ by more than the last digits.
            assert measured[f"{side}/ndcg@10"] == pytest.approx(result[f"{side}/ndcg@10"], abs=1e-5)
        assert measured["eval/first_stage"] == "bm25@20"
    if "attack=wsra" in options:
        entries = load_attacked(folder / "attack.jsonl")
        assert result["adv/targets"] == len(entries)
        assert all(entry.similarity is None for entry in entries)
        assert "adv/similarity" not in result
        assert result["adv/rank_after"] <= result["adv/rank_before"] <= 20
        assert math.isfinite(result["untrained/eff/contrastive_entropy"])


@pytest.mark.slow
def test_passages_that_fooled_a_dual_encoder_are_replayed(tmp_path: Path) -> None:
    places = (f"runs={tmp_path / 'runs'}", f"cache={tmp_path / 'cache'}")
    first = composed(*SMALL, *SHORT, *places, *ATTACK, "attack.first_rank=51", "attack.last_rank=80")
    attacked = run_cell(first)
    replay = f"attack.replay={directory_of(first).path}"
    result = run_cell(composed(*SMALL, *SHORT, *places, *FAMILY, replay))
    assert result["adv/targets"] == attacked["adv/targets"]
    assert result["adv/attacked_queries"] == attacked["adv/attacked_queries"]
    # Targets are added to the candidates of their query.
    assert 1 <= result["adv/rank_after"] <= 21 + 5


@pytest.mark.slow
def test_a_run_judges_negatives_and_is_no_miner(tmp_path: Path) -> None:
    places = (f"runs={tmp_path / 'runs'}", f"cache={tmp_path / 'cache'}", "train.precision=32")
    config = composed(*SMALL, *SHORT, *places, *FAMILY, "eval=none")
    run_cell(config)
    folder = directory_of(config).path
    judging = ("strategy=denoising", f"strategy.denoise.teacher={folder}", "eval=none")
    result = run_cell(composed(*SMALL, *SHORT, *places, *judging))
    assert result["negatives/judged"] > 0
    with pytest.raises(ConfigError, match="scores pairs by a pass each and cannot search a corpus"):
        run_cell(
            composed(*SMALL, *SHORT, *places, "strategy=hard-negative", f"strategy.hard.source={folder}")
        )
    with pytest.raises(ConfigError, match="scores pairs by a pass each and cannot search; use bm25"):
        run_cell(composed(*SMALL, *SHORT, *places, *FAMILY, f"eval.first_stage={folder}", "train.steps=2"))


@pytest.mark.slow
def test_a_librarys_own_model_is_measured_as_the_library_measures_it(tmp_path: Path) -> None:
    config = composed(*SMALL, f"cache={tmp_path / 'cache'}", *FAMILY)
    suite = sources.prepare(config.data, tmp_path / "cache")
    collection = open_collection(suite.in_domain, tmp_path / "cache")
    tokenizer = train_wordpiece([text for _, text in collection.passages()], 300)
    shape = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, num_labels=1, initializer_range=0.2,
    )  # fmt: skip
    BertForSequenceClassification(shape).save_pretrained(tmp_path / "plain")
    Template.of(tokenizer).joining(tokenizer).save_pretrained(tmp_path / "plain")
    library = CrossEncoder(str(tmp_path / "plain"), device="cpu", activation_fn=nn.Sigmoid())
    library.save_pretrained(str(tmp_path / "model"))
    out = tmp_path / "found.json"
    arguments = ["--model", str(tmp_path / "model"), *_data()]
    assert evaluate.main([*arguments, f"cache={tmp_path / 'cache'}", "--out", str(out)]) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    whole = build_evaluation_set(collection, "test", config.eval)
    part = with_candidates(first_queries(whole, 6, config.eval.seed), config.eval, tmp_path / "cache")
    assert part.candidates is not None
    samples = []
    for query, (text, listed) in enumerate(zip(part.queries(), part.candidates, strict=True)):
        columns = listed[listed >= 0]
        relevant = part.columns[part.indptr[query] : part.indptr[query + 1]]
        texts = {
            name: collection.passage_texts(part.passage_rows[chosen])
            for name, chosen in (("positive", relevant), ("documents", columns))
        }
        samples.append({"query": text, **texts})
    judge = CrossEncoderRerankingEvaluator(samples, at_k=10, always_rerank_positives=False, write_csv=False)
    expected = judge(CrossEncoder(str(tmp_path / "model"), device="cpu"))
    for name in ("ndcg@10", "mrr@10"):
        assert found[f"eff/{name}"] == pytest.approx(expected[name], abs=1e-6)


def _data() -> list[str]:
    """Overrides that give an evaluation the data and the settings of the runs."""
    kept = [each for each in (*SMALL, *SHORT, *FAMILY) if each.startswith(("data", "eval", "trainer"))]
    # The number format of a run is that of its training.
    return [*(each for each in kept if "log_every" not in each), "train.precision=32"]


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("bert", True),
        pytest.param("bert", False, marks=pytest.mark.slow),
        pytest.param("distilbert", True, marks=pytest.mark.slow),
        pytest.param("qwen3", False, marks=pytest.mark.slow),
    ],
)
def test_adapters_are_trained_resumed_to_the_bit_and_exported(
    name: str, saved: bool, small: Compose, tmp_path: Path
) -> None:
    lora = ("model.adapter=lora", "model.lora.rank=4", "train.steps=4", "train.precision=32", "eval=none")
    if name == "bert":  # the pooler has such a layer, too
        lora = (*lora, "model.lora.targets=[query,dense]")
    options = (*start_of(name, saved, tmp_path), *SHORT, *FAMILY, *lora)
    whole, parted = small(*options), small(*options, f"runs={tmp_path / 'parted'}")
    expected = run_cell(whole)
    terminated_at(parted, 3)
    assert without_cost(run_cell(parted)) == without_cost(expected)
    wanted, found = weights(directory_of(whole)), weights(directory_of(parted))
    assert all(torch.equal(value, found[each]) for each, value in wanted.items())
    # What is new stands on the backbone and is trained whole; what was loaded is frozen.
    parts = {part for each in wanted for part in each.split(".")}
    assert {"lora_A", "lora_B"} <= parts
    assert parts & {"classifier", "score"}
    assert "word_embeddings" not in parts
    assert not any("pooler" in each and "lora" in each for each in wanted)
    assert expected["size/params_trainable"] < expected["size/params_non_embedding"]
    scorer, tokenizer = trained(whole)
    assert any(bool(part.abs().sum() > 0) for name, part in wanted.items() if "lora_B" in name)
    texts = ["w1 w2 w3", "w7", "w4 w5 w6 w4 w9 w8 w2"]
    ids = tokenizer(texts)["input_ids"]
    rows = scorer(group_tokens(np.concatenate(ids), np.array([len(each) for each in ids])))
    scores = scorer.scores(rows, rows).detach().numpy()
    library = CrossEncoder(str(directory_of(whole).model), device="cpu")
    predicted = library.predict([(query, text) for query in texts for text in texts])
    assert_scores(predicted.reshape(3, 3), scores, ROUNDINGS, pair_scale(scorer, rows, rows))
