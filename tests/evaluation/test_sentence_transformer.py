"""Any sentence-transformers model, and the command ``python -m retrieval.evaluate``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from retrieval import evaluate
from retrieval.config import EvalConfig
from retrieval.data.collection import Collection
from retrieval.data.testset import EvaluationSet, build_evaluation_set
from retrieval.errors import ConfigError
from retrieval.evaluation.suite import build_sets, evaluate_suite
from retrieval.search.retriever import Attackable
from retrieval.search.sentence_transformer import sentence_transformer_retriever
from tests.evaluation.conftest import load_scores
from tests.rounding import assert_entropies, assert_scores, product_scale

MakeCollection = Callable[..., Collection]
LIMITS = ["eval.negatives=50", "eval.pool=200", "eval.max_queries=20"]
DIMENSION, LONGEST = 24, 4
"""Of the vectors of :func:`static_model`, and words of a text at most."""


@pytest.fixture
def static_model(tmp_path: Path) -> Callable[..., Path]:
    """Save a model that averages one random vector a word, with the given prompts and similarity."""

    def make(similarity: str, prompts: dict[str, str] | None = None) -> Path:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        from tokenizers import Tokenizer, models, pre_tokenizers

        words = ["[UNK]", "common", "ask", "tell", *(f"word{index}" for index in range(500))]
        tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        weights = np.random.default_rng(0).normal(size=(len(words), DIMENSION)).astype(np.float32)
        module = StaticEmbedding(tokenizer, embedding_weights=weights)
        folder = tmp_path / f"model-{similarity}"
        model = SentenceTransformer(
            modules=[module], similarity_fn_name=similarity, prompts=prompts, device="cpu"
        )
        model.save(str(folder), create_model_card=False)
        return folder

    return make


@pytest.mark.slow
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_scores_are_the_similarities_of_the_model(
    static_model: Callable[..., Path], numbered_collection: MakeCollection, similarity: str
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = static_model(similarity, {"query": "ask ", "document": "tell "})
    part = build_evaluation_set(numbered_collection(), "test", EvalConfig(max_queries=20, pool=200))
    encoder = sentence_transformer_retriever(folder, temperature=0.5, device="cpu")
    queries = encoder.encode(part.collection, "queries", part.query_rows)
    passages = encoder.encode(part.collection, "passages", part.passage_rows[:200])
    model = SentenceTransformer(str(folder), device="cpu")
    expected = model.similarity(
        model.encode([f"ask {text}" for text in part.queries()]),
        model.encode([f"tell {text}" for text in part.passages()]),
    )
    assert queries.dtype == passages.dtype == np.float32
    # Of both texts, words are averaged and the vector is divided by its length; the rest is their product.
    roundings = 2 * (LONGEST + 2 * DIMENSION) + DIMENSION
    assert_scores(queries @ passages.T, expected.numpy() / 0.5, roundings, product_scale(queries, passages))


@pytest.mark.slow
def test_models_without_inner_products_and_missing_folders_are_refused(
    static_model: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"similarity 'euclidean' is no inner product; valid: dot, cosine"):
        sentence_transformer_retriever(static_model("euclidean"))
    with pytest.raises(ConfigError, match="no such folder"):
        sentence_transformer_retriever(tmp_path / "nothing")


def assert_measured(
    found: dict[str, Any], expected: dict[str, float], model: Attackable, part: EvaluationSet
) -> None:
    """Assert that a model of words is measured alike, in whatever blocks; ``part``: whose texts are longest.

    The same vectors are multiplied. What follows from ranks is the same, or differs by more than the last
    digits.
    """
    assert found.keys() == expected.keys()
    queries = model.encode(part.collection, "queries", part.query_rows)
    passages = model.encode(part.collection, "passages", part.passage_rows)
    scale = product_scale(queries, passages).max()
    for key, value in expected.items():
        if key.endswith("contrastive_entropy") and not key.startswith("bm25"):
            assert_entropies(found[key], value, DIMENSION, scale)
        else:
            assert found[key] == pytest.approx(value, rel=1e-6), key


@pytest.mark.slow
def test_command_measures_models_and_runs_as_the_suite_does(
    static_model: Callable[..., Path],
    numbered_collection: MakeCollection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    home = numbered_collection(name="home")
    away = numbered_collection(passages=310, queries=30, name="away")
    folder = home.folder
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq59\tp59\t1\n")
    overrides = ["data=local", f"data.path={folder}", f"data.ood=[{away.folder}]", *LIMITS, "cache=cache"]
    model = static_model("dot")
    arguments = ["--model", str(model), "--out", "model.json", "--scores", "scores", *overrides]
    assert evaluate.main(arguments) == 0
    measured = json.loads(Path("model.json").read_text())
    assert measured.pop("warnings") == []

    config = EvalConfig(negatives=50, pool=200, max_queries=20)
    sets = build_sets(home, {"away": away}, config)
    expected = evaluate_suite(sentence_transformer_retriever(model), sets, config, tmp_path / "other").metrics
    assert_measured(measured, expected, sentence_transformer_retriever(model), sets.eff)
    assert len(load_scores(Path("scores"))[0]) == 40
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert float(printed["eff/contrastive_entropy"]) == pytest.approx(
        measured["eff/contrastive_entropy"], rel=1e-4
    )

    # A run is measured on its own data and evaluation; what it holds stays as it is.
    run = tmp_path / "run"
    run.mkdir()
    model.rename(run / "model")
    stored = {
        "data": evaluate._compose(overrides, None).data,
        "eval": evaluate._compose(overrides, None).eval,
        "cache": "cache",
    }
    OmegaConf.save(OmegaConf.create(stored), run / "config.yaml")
    assert evaluate.main(["--run", str(run), "--out", "run.json"]) == 0
    assert json.loads(Path("run.json").read_text()) == {**measured, "warnings": []}
    assert evaluate.main(["--run", str(run), "--out", "more.json", *LIMITS[:2], "eval.max_queries=5"]) == 0
    assert json.loads(Path("more.json").read_text())["eval/queries"] == 5
    # One key of its data is changed, and its other keys stay.
    assert evaluate.main(["--run", str(run), "--out", "less.json", "data.ood=[]"]) == 0
    less = json.loads(Path("less.json").read_text())
    in_domain = {key: value for key, value in measured.items() if key.split("/")[0] != "ood"}
    assert {key: less[key] for key in ("eff/contrastive_entropy", "eff/ndcg@10")} == {
        key: in_domain[key] for key in ("eff/contrastive_entropy", "eff/ndcg@10")
    }
    assert not [key for key in less if key.startswith("ood/")]
    assert evaluate.main(["--run", str(run), "data.oood=[]"]) == 2
    assert "no key data.oood (did you mean ood?)" in capsys.readouterr().err
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml", "model"]


def test_a_model_is_measured_on_a_local_suite(
    static_model: Callable[..., Path],
    numbered_collection: MakeCollection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = numbered_collection(name="home")
    near, far = (numbered_collection(passages=310, queries=size, name=f"away-{size}") for size in (20, 30))
    (home.folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq59\tp59\t1\n")
    shutil.copytree(evaluate.CONFIGURATION, tmp_path / "conf")
    (tmp_path / "conf" / "suite" / "mine.yaml").write_text(
        f"""# @package _global_
defaults:
  - override /data: local
data:
  path: {home.folder}
  ood: [{near.folder}, {far.folder}]
"""
    )
    monkeypatch.setattr(evaluate, "CONFIGURATION", tmp_path / "conf")
    model, out = static_model("dot"), tmp_path / "out.json"
    arguments = ["--model", str(model), "suite=mine", f"cache={tmp_path / 'cache'}", "--out", str(out)]
    # Every test query against every passage, in seven shards.
    arguments += ["eval=full", "eval.negatives=50", "eval.shard=64"]
    assert evaluate.main(arguments) == 0, capsys.readouterr().err
    measured = json.loads(out.read_text())
    assert measured.pop("warnings") == []

    config = EvalConfig(max_queries=None, pool=None, negatives=50)
    sets = build_sets(home, {"away-20": near, "away-30": far}, config)
    expected = evaluate_suite(sentence_transformer_retriever(model), sets, config, tmp_path / "other").metrics
    assert_measured(measured, expected, sentence_transformer_retriever(model), sets.eff)
    assert (measured["eval/pool"], measured["eval/away-20/pool"]) == (400, 310)
    # Query q7 asks for the one passage that holds word7 beside a common word: a model of words finds it.
    assert measured["ood/mrr@10"] > 0.9
    # The initial weights of a model that is no run are not known.
    assert not any(key.startswith("untrained/") for key in measured)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --run RUN or --model"),
        (["--run", "a", "--model", "b"], "give either --run RUN or --model"),
        (["--run", "nowhere"], "nowhere: no run directory"),
        (["--model", "m", "eval=none"], "eval=none measures nothing; use eval=quick or eval=full"),
        (["--model", "m", "eval=fast"], "eval=fast is not known"),
        (["--model", "m", "eval.pol=3"], "eval.pol"),
        (["--model", "m", "--temperature", "0"], "--temperature 0.0 is out of range"),
    ],
)
def test_mistakes_are_one_line_and_status_two(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(arguments) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.startswith("error: ")
    assert len(printed.splitlines()) == 1


def test_the_command_needs_no_torch_to_refuse() -> None:
    code = "import retrieval.evaluate as e, sys; e.main(['--run', 'x']); assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=evaluate.CONFIGURATION.parent, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_prompts_of_a_model_that_has_none_are_given(
    static_model: Callable[..., Path],
    numbered_collection: MakeCollection,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = numbered_collection(name="home")
    (home.folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq59\tp59\t1\n")
    own = ["data=local", f"data.path={home.folder}", *LIMITS, f"cache={tmp_path / 'cache'}"]
    given = ['model.query_prompt="ask "', 'model.passage_prompt="tell "']

    def measured(folder: Path, *prompts: str) -> float:
        out = tmp_path / "out.json"
        assert evaluate.main(["--model", str(folder), "--out", str(out), *own, *prompts]) == 0
        found: float = json.loads(out.read_text())["eff/contrastive_entropy"]
        return found

    folder = static_model("cosine")
    without, told = measured(folder), measured(folder, *given)
    assert without != told
    assert told == measured(static_model("cosine", {"query": "ask ", "document": "tell "}))
    capsys.readouterr()
    assert evaluate.main(["--model", str(folder), *own, "model.layers=3"]) == 2
    assert "model.layers=3 would not be used" in capsys.readouterr().err
