"""Data from which nothing can be learned, and data that can be measured only."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import transformers

from retrieval.data.tokens import train_wordpiece
from retrieval.errors import DataError
from retrieval.evaluate import main
from retrieval.pipeline import run_cell
from tests.checkpoints import checkpoint_folder, vocabulary
from tests.end_to_end.conftest import composed

Text = Callable[[int], str]


def passage(number: int) -> str:
    return f"passage {number} of it"


def query(number: int) -> str:
    return f"what is {number}"


def collection(
    folder: Path, passages: Text = passage, queries: Text = query, **splits: list[tuple[str, str]]
) -> Path:
    """A BEIR folder with 40 passages, 10 queries, and these judgements."""
    (folder / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": f"p{n}", "title": "", "text": passages(n)}) for n in range(40)]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    lines = [json.dumps({"_id": f"q{n}", "text": queries(n)}) for n in range(10)]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    for split, pairs in splits.items():
        rows = "".join(f"{query}\t{passage}\t1\n" for query, passage in pairs)
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    return folder


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([("q0", "p0")], "its 1 training pairs have one query"),
        ([("q0", "p0"), ("q0", "p1")], "its 2 training pairs have one query"),
        ([("q0", "p0"), ("q1", "p0")], "its 2 training pairs have one passage"),
    ],
)
def test_pairs_without_a_negative_are_refused(
    pairs: list[tuple[str, str]], words: str, tmp_path: Path
) -> None:
    folder = collection(tmp_path / "few", train=pairs, test=[("q5", "p5")])
    places = (f"data.path={folder}", f"runs={tmp_path / 'runs'}", f"cache={tmp_path / 'cache'}")
    config = composed("data=local", *places, "model=bert-tiny", "eval=none", "logger=none")
    with pytest.raises(DataError, match=words):
        run_cell(config)


def test_measuring_needs_no_training_data(tmp_path: Path) -> None:
    folder = collection(tmp_path / "test-only", test=[(f"q{n}", f"p{n}") for n in range(10)])
    model = checkpoint_folder("bert", tmp_path / "bert")
    options = ["data=local", f"data.path={folder}", "eval.negatives=5", "eval.draws=1", f"cache={tmp_path}"]
    assert main(["--model", str(model), "--out", str(tmp_path / "found.json"), *options]) == 0
    assert json.loads((tmp_path / "found.json").read_text())["eval/queries"] == 10


def chinese(number: int) -> str:
    """Words of a script of which the tiny checkpoints know nothing."""
    return "文字" + "一二三四五六七八九十"[number % 10] * (number // 10 + 1)


def knowing(folder: Path) -> Path:
    """A tiny checkpoint whose tokenizer knows the words of a plain :func:`collection`."""
    checkpoint_folder("bert", folder)
    texts = [part(number) for part in (passage, query) for number in range(40)]
    train_wordpiece(texts * 3, len(vocabulary())).save_pretrained(folder)
    return folder


def every_fifth(number: int) -> str:
    return chinese(number) if number % 5 == 0 else passage(number)


TEXTS: dict[str, tuple[Text, Text, set[str], str]] = {
    "known": (passage, query, set(), ""),
    "foreign": (chinese, query, {"UNKNOWN_WORDS"}, "odd: the tokenizer does not know 100% of the 180 tokens"),
    "foreign queries": (passage, chinese, {"UNKNOWN_WORDS"}, "tokens of its queries"),
    "no token": (
        lambda n: "\u200b" * n if n in (7, 9) else passage(n),
        query,
        {"EMPTY_TEXTS"},
        "odd: 2 of 40 passages hold no token, 'p7' first",
    ),
    "no token in a query": (
        passage,
        lambda n: "\u200b" if n == 3 else query(n),
        {"EMPTY_TEXTS"},
        "odd: 1 of 10 queries hold no token, 'q3' first",
    ),
    "copies": (
        lambda n: passage(n % 30 if n % 30 else 1),
        query,
        {"REPEATED_TEXTS"},
        "odd: 11 of 40 passages repeat the text of another (27.5%)",
    ),
}

MATCHED = [(f"q{n}", f"p{n}") for n in range(10)]


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_wrong_with_texts_is_named_where_they_are_measured(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passages, queries, codes, words = TEXTS[name]
    folder = collection(tmp_path / "odd", passages, queries, test=MATCHED)
    model = knowing(tmp_path / "bert")
    options = ["data=local", f"data.path={folder}", "eval.negatives=5", "eval.draws=1", f"cache={tmp_path}"]
    assert main(["--model", str(model), "--out", str(tmp_path / "found.json"), *options]) == 0
    warnings = json.loads((tmp_path / "found.json").read_text())["warnings"]
    said = capsys.readouterr().err
    assert {warning["code"] for warning in warnings} == codes
    assert all(warning.keys() == {"code", "message", "remedy"} for warning in warnings)
    assert words in " ".join(warning["message"] for warning in warnings)
    for code in codes:
        assert f"warning: {code}: " in said


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_wrong_with_texts_is_named_when_they_are_tokenised_and_in_the_result(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passages, queries, codes, words = TEXTS[name]
    if name == "foreign":
        passages, words = every_fifth, "odd: the tokenizer does not know"
    if name == "foreign queries":
        queries = every_fifth
    folder = collection(tmp_path / "odd", passages, queries, train=MATCHED[:5], test=MATCHED[5:])
    model = knowing(tmp_path / "bert")
    result = trained(folder, tmp_path, f"model.pretrained={model}")
    said = capsys.readouterr().err
    assert {warning["code"] for warning in result["warnings"]} - {"AT_CHANCE_LEVEL"} == codes
    assert words in " ".join(warning["message"] for warning in result["warnings"])
    for code in codes:
        assert said.count(f"warning: {code}: ") == 1
    assert [w["code"] for w in read(tmp_path)["warnings"]] == [w["code"] for w in result["warnings"]]


def trained(folder: Path, place: Path, *overrides: str) -> dict[str, Any]:
    places = (f"data.path={folder}", f"runs={place / 'runs'}", f"cache={place / 'cache'}")
    small = ("train.steps=2", "train.batch_size=4", "eval.negatives=5", "eval.draws=1", "eval.bm25=false")
    pretrained = ("model=bert-tiny", "model.init=pretrained", "data.overlap=drop")
    return run_cell(composed("data=local", *places, *small, *pretrained, "logger=none", *overrides))


def read(place: Path) -> dict[str, Any]:
    [path] = (place / "runs").glob("*/result.json")
    return cast(dict[str, Any], json.loads(path.read_text()))


@pytest.mark.parametrize(
    ("passages", "queries", "words"),
    [
        (chinese, query, "none of its 40 passages holds a word that the tokenizer knows"),
        (passage, chinese, "none of its 10 queries holds a word that the tokenizer knows"),
        (
            lambda n: "one text" if n < 5 else passage(n),
            query,
            "the passage of all its 5 training pairs is one text",
        ),
        (passage, lambda _: "one text", "the query of all its 5 training pairs is one text"),
    ],
)
def test_texts_that_no_model_can_tell_apart_are_refused(
    passages: Text, queries: Text, words: str, tmp_path: Path
) -> None:
    folder = collection(tmp_path / "odd", passages, queries, train=MATCHED[:5], test=MATCHED[5:])
    model = knowing(tmp_path / "bert")
    with pytest.raises(DataError, match=words):
        trained(folder, tmp_path, f"model.pretrained={model}")


def collapsed(folder: Path, share: float) -> Path:
    """A checkpoint whose last states are one vector, but for a ``share`` of what comes in."""
    checkpoint = knowing(folder)
    model = transformers.AutoModel.from_pretrained(checkpoint)
    torch.manual_seed(0)
    with torch.no_grad():
        model.encoder.layer[-1].output.LayerNorm.weight.fill_(share)
        model.encoder.layer[-1].output.LayerNorm.bias.normal_()
    model.save_pretrained(checkpoint)
    return checkpoint


@pytest.mark.parametrize(
    ("share", "precision", "named"),
    [(0.0, "32", True), (0.0, "bf16", True), (0.03, "32", False), (0.03, "bf16", True)],
)
def test_a_collapsed_encoder_is_named(share: float, precision: str, named: bool, tmp_path: Path) -> None:
    # Vectors that differ by some hundredths have cosines that differ by some ten-thousandths: these are the
    # model's own in fp32, and rounding in bf16.
    folder = collection(tmp_path / "odd", test=MATCHED)
    checkpoint = collapsed(tmp_path / "bert", share)
    options = ["data=local", f"data.path={folder}", "eval.negatives=5", "eval.draws=1", f"cache={tmp_path}"]
    options.append(f"train.precision={precision}")
    assert main(["--model", str(checkpoint), "--out", str(tmp_path / "found.json"), *options]) == 0
    warnings = json.loads((tmp_path / "found.json").read_text())["warnings"]
    assert [warning["code"] for warning in warnings] == ["CONSTANT_SCORES"] * named
    for warning in warnings:
        assert warning["message"] == "eff (odd): all passages have one score at 10 of 10 queries"


def test_a_run_that_collapsed_has_the_warning_that_says_why(tmp_path: Path) -> None:
    folder = collection(tmp_path / "odd", train=MATCHED[:5], test=MATCHED[5:])
    checkpoint = collapsed(tmp_path / "bert", 0.0)
    still = ("train.lr=1e-12", "train.precision=32")
    warnings = trained(folder, tmp_path, f"model.pretrained={checkpoint}", *still)["warnings"]
    assert [warning["code"] for warning in warnings] == ["CONSTANT_SCORES"]


def test_pairs_that_a_dataset_gives_no_text_are_named(tmp_path: Path) -> None:
    rows = [{"query": query(n), "passage": passage(n)} for n in range(20)]
    rows += [{"query": "", "passage": "a"}, {"query": "b", "passage": None}, {"query": "c", "passage": " "}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = knowing(tmp_path / "bert")
    options = ["data=hub", f"data.dataset={path}", "data.train=null", "data.test=train", f"cache={tmp_path}"]
    options += ["eval.negatives=5", "eval.draws=1", "--out", str(tmp_path / "found.json")]
    assert main(["--model", str(model), *options]) == 0
    warnings = json.loads((tmp_path / "found.json").read_text())["warnings"]
    assert {warning["code"] for warning in warnings} == {"PAIRS_LEFT_OUT"}
    assert sorted(warning["message"] for warning in warnings) == [
        "rows: pairs whose passage has no text: 2 of test",
        "rows: pairs whose query has no text: 1 of test",
    ]
