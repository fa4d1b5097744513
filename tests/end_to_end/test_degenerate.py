"""Data from which nothing can be learned, and data that can be measured only."""

import json
from pathlib import Path

import pytest

from retrieval.errors import DataError
from retrieval.evaluate import main
from retrieval.pipeline import run_cell
from tests.checkpoints import checkpoint_folder
from tests.end_to_end.conftest import composed


def collection(folder: Path, **splits: list[tuple[str, str]]) -> Path:
    """A BEIR folder with 40 passages, 10 queries, and these judgements."""
    (folder / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": f"p{n}", "title": "", "text": f"passage {n} of it"}) for n in range(40)]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    lines = [json.dumps({"_id": f"q{n}", "text": f"what is {n}"}) for n in range(10)]
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
