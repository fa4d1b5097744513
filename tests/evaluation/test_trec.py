"""Files of TREC: what trec_eval computes from them is what is reported, and mistakes in them are one line."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval

from retrieval.data.collection import Collection
from retrieval.data.tokens import train_wordpiece
from retrieval.evaluate import main

MakeCollection = Callable[..., Collection]
PASSAGES = 150
GRADED = [(f"q{n}", f"p{m}", grade) for n in range(12) for m, grade in ((n, 2), (n + 40, 1), (n + 80, 0))]


@pytest.fixture
def home(make_collection: MakeCollection) -> Collection:
    """Every ten passages have one text, so that their scores are equal, and some judgements are graded."""
    return make_collection(
        [(f"p{n}", f"word{n % 15} common") for n in range(PASSAGES)],
        [(f"q{n}", f"word{n} word{n + 3}") for n in range(12)],
        {"test": GRADED, "train": [("q0", "p0", 1), ("q1", "p1", 1)]},
        "home",
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model on disk: the mean of one random vector a token."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    words = train_wordpiece([f"word{n} common" for n in range(20)] * 3, 200)
    weights = np.random.default_rng(0).normal(size=(len(words), 16)).astype(np.float32)
    module = StaticEmbedding(words.backend_tokenizer, embedding_weights=weights)
    folder = tmp_path / "my model"
    saved = SentenceTransformer(modules=[module], similarity_fn_name="dot", device="cpu")
    saved.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture
def measured(
    home: Collection, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Evaluate the model on the collection; status, metrics and what is said on standard error."""

    def run(*arguments: str) -> tuple[int, dict[str, Any], str]:
        out = tmp_path / "out.json"
        out.unlink(missing_ok=True)
        limits = ["eval=full", "eval.negatives=20", f"cache={tmp_path / 'cache'}"]
        where = ["data=local", f"data.path={home.folder}", *limits]
        status = main(["--model", str(model), "--out", str(out), *where, *arguments])
        metrics = json.loads(out.read_text()) if out.is_file() else {}
        return status, metrics, capsys.readouterr().err

    return run


def trec_eval(run: Path, qrels: Path) -> dict[str, float]:
    with run.open() as runs, qrels.open() as judged:
        evaluator = pytrec_eval.RelevanceEvaluator(
            pytrec_eval.parse_qrel(judged), {"ndcg_cut.10", "recip_rank", "recall.100"}
        )
        found = evaluator.evaluate(pytrec_eval.parse_run(runs))
    names = {"ndcg_cut_10": "ndcg@10", "recip_rank": "mrr@10", "recall_100": "recall@100"}
    return {own: float(np.mean([values[name] for values in found.values()])) for name, own in names.items()}


def write_qrels(path: Path, judged: Sequence[tuple[str, str, int]]) -> Path:
    path.write_text("".join(f"{query} 0 {passage} {grade}\n" for query, passage, grade in judged))
    return path


def test_trec_eval_finds_what_is_reported(
    measured: Callable[..., tuple[int, dict[str, Any], str]], tmp_path: Path
) -> None:
    run, qrels = tmp_path / "run.txt", write_qrels(tmp_path / "qrels.txt", GRADED)
    status, own, said = measured("--run-out", str(run))
    assert status == 0, said
    found = trec_eval(run, qrels)
    assert 0.05 < found["ndcg@10"] < 0.95
    for name in ("ndcg@10", "recall@100"):
        assert own[f"eff/{name}"] == pytest.approx(found[name], abs=1e-12)
    status, other, said = measured("--qrels", str(qrels), "--run-out", str(tmp_path / "again.txt"))
    assert status == 0, said
    assert other == own
    assert (tmp_path / "again.txt").read_bytes() == run.read_bytes()


def test_other_judgements_are_other_numbers_and_nothing_stale(
    measured: Callable[..., tuple[int, dict[str, Any], str]], tmp_path: Path
) -> None:
    own = measured()[1]
    dice = random.Random(1)
    judged = [(f"q{n}", f"p{dice.randrange(PASSAGES)}", dice.choice([1, 3])) for n in range(5)]
    run, qrels = tmp_path / "run.txt", write_qrels(tmp_path / "qrels.txt", [*judged, ("q7", "p3", -2)])
    status, other, said = measured("--qrels", str(qrels), "--run-out", str(run))
    assert status == 0, said
    assert other["eval/queries"] == 5
    [warning] = [found for found in other["warnings"] if found["code"] == "QUERIES_LEFT_OUT"]
    assert warning["message"] == "eff (home): judged queries without a judgement above 0: 1"
    assert other["eff/ndcg@10"] == pytest.approx(trec_eval(run, qrels)["ndcg@10"], abs=1e-12)
    for key in ("eff/ndcg@10", "bm25/eff/ndcg@10"):
        assert other[key] != own[key]
    assert measured()[1] == own


def test_a_query_without_a_relevant_passage_is_a_zero_elsewhere_and_named_here(
    measured: Callable[..., tuple[int, dict[str, Any], str]], tmp_path: Path
) -> None:
    run, whole = tmp_path / "run.txt", write_qrels(tmp_path / "qrels.txt", GRADED)
    assert measured("--run-out", str(run))[0] == 0
    judged = [(query, passage, 0 if query == "q3" else grade) for query, passage, grade in GRADED]
    qrels = write_qrels(tmp_path / "less.txt", judged)
    status, own, said = measured("--qrels", str(qrels))
    assert "warning: QUERIES_LEFT_OUT: eff (home): " in said
    # The run still holds that query, and trec_eval counts it.
    assert own["eff/ndcg@10"] * 11 / 12 == pytest.approx(trec_eval(run, qrels)["ndcg@10"])
    assert trec_eval(run, whole)["ndcg@10"] > trec_eval(run, qrels)["ndcg@10"]
    assert status == 0


def test_a_run_file_is_in_the_order_of_trec_eval_with_all_digits(
    measured: Callable[..., tuple[int, dict[str, Any], str]], tmp_path: Path
) -> None:
    run = tmp_path / "folder" / "run.txt"
    assert measured("--run-out", str(run))[0] == 0
    rows = [line.split(" ") for line in run.read_text().splitlines()]
    assert {(len(row), row[1], row[5]) for row in rows} == {(6, "Q0", "my-model")}
    assert [int(row[3]) for row in rows] == list(range(1, 101)) * 12
    by_query = [rows[start : start + 100] for start in range(0, len(rows), 100)]
    for listed in by_query:
        keys = [(float(row[4]), row[2].encode()) for row in listed]
        assert keys == sorted(keys, reverse=True)
        assert all(float(np.float32(row[4])) == pytest.approx(float(row[4]), rel=1e-8) for row in listed)
    assert sum(len({row[4] for row in listed}) < 100 for listed in by_query) == 12  # there were ties


MALFORMED = {
    "q0 0 p0": "2: 3 column(s); a line of TREC qrels is: qid 0 docid rel (a qrels file of BEIR needs",
    "": "2: 0 column(s); a line of TREC qrels is: qid 0 docid rel",
    "q0 0 p0 1 x": "2: 5 column(s); a line of TREC qrels is: qid 0 docid rel",
    "q0 0 p1 0.5": "2: score '0.5' is not an integer",
    "q99 0 p1 1": "2: query id 'q99' is not in queries.jsonl; add the query or remove the judgement",
    "q0 0 p999 1": "2: passage id 'p999' is not in corpus.jsonl; add the passage or remove the judgement",
    "q3 0 p3 2": "2: the pair has score 2 here and 1 on line 1; keep one",
}


@pytest.mark.parametrize(("line", "reason"), MALFORMED.items())
def test_a_malformed_line_is_named(
    measured: Callable[..., tuple[int, dict[str, Any], str]], tmp_path: Path, line: str, reason: str
) -> None:
    qrels = tmp_path / "qrels.txt"
    qrels.write_text(f"q3 0 p3 1\n{line}\nq4 Q0 p4 1\n")
    status, _, said = measured("--qrels", str(qrels))
    assert status == 2
    assert said.startswith(f"error: {qrels}:{reason}")
    assert len(said.splitlines()) == 1


def test_files_that_cannot_be_are_refused_before_anything_is_measured(
    measured: Callable[..., tuple[int, dict[str, Any], str]], tmp_path: Path, make_collection: MakeCollection
) -> None:
    (tmp_path / "empty.txt").write_text("q0 0 p0 0\n")
    (tmp_path / "file").write_text("")
    for arguments, words in (
        (["--qrels", str(tmp_path / "none.txt")], "none.txt: no such file"),
        (["--qrels", str(tmp_path)], f"--qrels {tmp_path}: no such file"),
        (["--qrels", str(tmp_path / "empty.txt")], "empty.txt: no relevant pair"),
        (["--run-out", str(tmp_path)], f"cannot write {tmp_path}: it is no file"),
        (["--run-out", str(tmp_path / "file" / "run.txt")], "cannot write"),
    ):
        status, _, said = measured(*arguments)
        assert (status, len(said.splitlines())) == (2, 1), said
        assert words in said


def test_several_collections_need_a_file_each(
    measured: Callable[..., tuple[int, dict[str, Any], str]],
    home: Collection,
    tmp_path: Path,
    make_collection: MakeCollection,
) -> None:
    passages = [(f"d{n}", f"word{n % 20}") for n in range(60)]
    away = make_collection(passages, [("q0", "word3")], {"test": [("q0", "d3", 1)]}, "away")
    ood = f"data.ood=[{away.folder}]"
    for option in ("--run-out", "--qrels"):
        path = write_qrels(tmp_path / "file.txt", GRADED)
        status, _, said = measured(option, str(path), ood)
        assert (status, len(said.splitlines())) == (2, 1)
        assert f"{option} {path}: " in said
        assert "(home, away)" in said
    status, own, said = measured("--run-out", str(tmp_path / "run-{collection}.txt"), ood)
    assert status == 0, said
    qrels = write_qrels(tmp_path / "away-qrels.txt", [("q0", "d3", 1)])
    assert trec_eval(tmp_path / "run-away.txt", qrels)["ndcg@10"] == pytest.approx(own["ood/away/ndcg@10"])
    assert (tmp_path / "run-home.txt").is_file()


def test_an_id_with_a_space_cannot_be_in_a_run_file(
    measured: Callable[..., tuple[int, dict[str, Any], str]], home: Collection, tmp_path: Path
) -> None:
    with (home.folder / "corpus.jsonl").open("a") as file:
        file.write(json.dumps({"_id": "p 7", "title": None, "text": "more"}) + "\n")
    assert measured()[0] == 0
    status, _, said = measured("--run-out", str(tmp_path / "run.txt"))
    assert status == 2
    assert "the id 'p 7' holds white space" in said
