"""``model.family=multi-vector`` through whole runs."""

from __future__ import annotations

import json
import math
import string
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.evaluation import MultiVectorInformationRetrievalEvaluator
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from torch import nn

from retrieval import evaluate
from retrieval.config.model import TOKEN_TEMPERATURE
from retrieval.evaluation.adversarial.records import load_attacked
from retrieval.pipeline import run_cell
from retrieval.run.identity import identity
from tests.checkpoints import checkpoint_folder
from tests.end_to_end.conftest import ATTACK, ROUNDINGS, SMALL, Compose, composed
from tests.end_to_end.test_devices import trace
from tests.end_to_end.test_run import directory_of
from tests.rounding import assert_entropies

FAMILY = (
    "model.family=multi-vector",
    "model.token_dimension=16",
    "data.max_query_length=10",
    "data.max_passage_length=20",
    "train.precision=32",
    "trainer.threads=1",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("strategy=adversarial", "model.query_expansion=true", "train.mini_batch_size=6", *ATTACK),
        ("strategy=hard-negative", "strategy.hard.refresh=6", "eval.shard=70"),
        ("strategy=pareto", "strategy.rule=fixed", "strategy.omega=0.5", "strategy.mixing=steps"),
    ],
    ids=lambda options: options[0],
)
def test_a_run_trains_is_measured_attacked_and_exported(small: Compose, options: tuple[str, ...]) -> None:
    config = small(*FAMILY, *options)
    result = run_cell(config)
    assert result["model_family"] == "multi-vector"
    assert 0 < result["eff/contrastive_entropy"] < math.log(33) + 1
    # BERT's linear layers and norms, and the projection without a bias.
    layer = 4 * 64**2 + 2 * 64 * 256 + 9 * 64 + 256 + 0 * 64
    assert result["size/params_non_embedding"] == 2 * layer + 64 * 16
    folder = directory_of(config).path
    # What is measured from the checkpoint, and from the folder that sentence-transformers reads.
    for source in (["--run", str(folder)], ["--model", str(folder / "model"), "data=synthetic"]):
        out = folder / "again.json"
        data = [override for override in SMALL if override.startswith(("data.", "eval."))]
        where = [*(data if "--model" in source else []), f"cache={config.cache}"]
        assert evaluate.main([*source, *where, "--out", str(out)]) == 0
        measured = json.loads(out.read_text())
        # At most ten tokens of a query each have a cosine, which is divided by the temperature.
        entropies = measured["eff/contrastive_entropy"], result["eff/contrastive_entropy"]
        assert_entropies(*entropies, 2 * ROUNDINGS, 10 / TOKEN_TEMPERATURE)
        for name in ("ndcg@10", "recall@100"):
            # Ranks are the same, or differ by more than the last digits.
            assert measured[f"eff/{name}"] == pytest.approx(result[f"eff/{name}"], rel=1e-4)
    if "attack=wsra" in options:
        assert result["adv/targets"] == len(load_attacked(folder / "attack.jsonl"))
        assert result["adv/rank_after"] <= result["adv/rank_before"]


@pytest.mark.slow
def test_the_attack_of_a_dual_encoder_is_replayed(small: Compose) -> None:
    attacked = small("trainer.threads=1", *ATTACK)
    first = run_cell(attacked)
    again = run_cell(small(*FAMILY, f"attack.replay={directory_of(attacked).path}"))
    assert again["adv/targets"] == first["adv/targets"]
    assert again["model_family"] == "multi-vector"


@pytest.mark.slow
def test_two_devices_give_the_trace_of_one(small: Compose, tmp_path: Path) -> None:
    one = run_cell(small(*FAMILY, f"runs={tmp_path / 'one'}", "eval=none"))
    two = run_cell(small(*FAMILY, f"runs={tmp_path / 'two'}", "eval=none", "trainer.devices=2"))
    assert two["cost/train_flops"] == one["cost/train_flops"]
    pairs = zip(trace(tmp_path / "two" / two["run"]), trace(tmp_path / "one" / one["run"]), strict=True)
    for ours, theirs in pairs:
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_the_librarys_evaluator_finds_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, corpus = _their_model(tmp_path), tmp_path / "corpus"
    random = np.random.default_rng(0)
    words = [*"the dogs lists of numbers sorted in order functions that return values".split(" "), ","]  # noqa: SIM905
    passages = {f"p{n}": " ".join(random.choice(words, random.integers(3, 30))) for n in range(120)}
    queries = {f"q{n}": " ".join(random.choice(words, random.integers(2, 8))) for n in range(30)}
    relevant = {name: {f"p{random.integers(120)}"} for name in queries}
    (corpus / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", passages), ("queries", queries)):
        lines = (json.dumps({"_id": key, "title": "", "text": text}) for key, text in texts.items())
        (corpus / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    judged = "".join(f"{name}\t{passage}\t1\n" for name, (passage,) in relevant.items())
    for split in ("train", "test"):
        (corpus / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    arguments = [
        "--model",
        str(folder),
        "data=local",
        f"data.path={corpus}",
        "eval=full",
        "eval.negatives=20",
    ]
    out = tmp_path / "out.json"
    status = evaluate.main([*arguments, f"cache={tmp_path / 'cache'}", "eval.bm25=false", "--out", str(out)])
    assert status == 0, capsys.readouterr().err
    found = json.loads(out.read_text())
    options = {"mrr_at_k": [10], "ndcg_at_k": [10], "precision_recall_at_k": [100], "map_at_k": [100]}
    judge = MultiVectorInformationRetrievalEvaluator(
        queries, passages, relevant, accuracy_at_k=[10], write_csv=False, **options
    )
    expected = judge(MultiVectorEncoder(str(folder), device="cpu"))
    for name in ("ndcg@10", "mrr@10", "recall@100"):
        assert found[f"eff/{name}"] == pytest.approx(expected[f"maxsim_{name}"], abs=1e-6)


def _their_model(tmp_path: Path) -> Path:
    transformer = Transformer(
        str(checkpoint_folder("bert", tmp_path / "bert")),
        query_length=12,
        document_length=24,
        query_expansion={"strategy": "fixed", "attend": True, "length": 12},
    )
    layer = Dense(32, 12, bias=False, activation_function=nn.Identity(), module_input_name="token_embeddings")
    mask = MultiVectorMask(list(string.punctuation))
    model = MultiVectorEncoder(
        modules=[transformer, layer, Normalize("token_embeddings"), mask], device="cpu"
    )
    model.save(str(tmp_path / "theirs"), create_model_card=False)
    return tmp_path / "theirs"


def test_keys_of_the_family_are_its_own() -> None:
    family = identity(composed(*SMALL, *FAMILY), "data")["model"]
    assert family["token_dimension"] == 16
    assert "pooling" not in family
    assert "attend_to_expansion" not in family
    # What null means with expansion is not what runs did that were made before the key.
    expands = identity(composed(*SMALL, *FAMILY, "model.query_expansion=true"), "data")["model"]
    assert expands["attend_to_expansion"] is None
    assert "token_dimension" not in identity(composed(*SMALL), "data")["model"]
