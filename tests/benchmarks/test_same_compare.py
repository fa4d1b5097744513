"""What the comparison of two commits takes for equal, and what it says of the rest."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.same.__main__ import main, report
from benchmarks.same.cells import CELLS, chosen
from benchmarks.same.collection import SPLITS, write_collection
from benchmarks.same.compare import Values, differences, read_run, same
from benchmarks.same.running import Side


def values(result: dict[str, Any] | None = None, **log: list[tuple[int, Any]]) -> Values:
    return Values(result or {}, log)


def said(base: Values, head: Values, *expected: str) -> list[str]:
    return [str(one) for one in differences(base, head, expected)]


@pytest.mark.parametrize(
    ("base", "head", "equal"),
    [
        (0.1, 0.1, True),
        (0.1, math.nextafter(0.1, 1), False),
        (math.nan, math.nan, True),
        (math.nan, None, False),
        (0.0, -0.0, False),
        (1, 1.0, False),
        (True, 1, False),
        ([{"a": 1, "b": 2}], [{"b": 2, "a": 1}], True),
    ],
)
def test_values_are_equal_when_written_alike(base: object, head: object, equal: bool) -> None:
    assert same(base, head) is equal


def test_equal_runs_have_no_differences() -> None:
    one = values({"eff/ndcg@10": 0.5}, loss=[(1, 2.0), (2, math.nan)])
    assert said(one, one) == []
    assert report(one, one, ()) == (["equal: 3 values"], True)


def test_a_differing_metric_is_given_with_both_values() -> None:
    assert said(values({"a": 0.5, "b": 1}), values({"a": 0.25, "b": 1})) == ["a: 0.5 at base, 0.25 at head"]


def test_the_first_logged_difference_is_given_with_its_step() -> None:
    base, head = values(loss=[(1, 2.0), (2, 1.0), (3, 0.5)]), values(loss=[(1, 2.0), (2, 1.5), (3, 0.25)])
    assert said(base, head) == ["loss: step 2: 1.0 at base, 1.5 at head; 2 of 3 logged values differ"]


def test_a_course_that_ends_early_or_takes_other_steps_differs() -> None:
    base = values(loss=[(1, 2.0), (2, 1.0)])
    assert said(base, values(loss=[(1, 2.0)])) == [
        "loss: step 2: 1.0 at base, not logged at head; 1 of 2 logged values differ"
    ]
    assert said(base, values(loss=[(1, 2.0), (3, 1.0)])) == [
        "loss: logged at step 2 at base, at step 3 at head; 1 of 2 logged values differ"
    ]


def test_keys_of_one_side_are_named() -> None:
    base, head = values({"a": 1}, old=[(1, 0.5)]), values({"b": 2}, new=[(1, 0.5), (2, 0.5)])
    assert said(base, head) == [
        "a: only at base: 1",
        "b: only at head: 2",
        "old: only at base: logged 1 times",
        "new: only at head: logged 2 times",
    ]


def test_expected_keys_are_listed_and_do_not_count() -> None:
    base, head = values({"adv/ndcg@10": 1, "eff/ndcg@10": 1}), values({"adv/ndcg@10": 2, "eff/ndcg@10": 1})
    assert report(base, head, ["adv/*"]) == (
        ["equal but for what is expected, of 2 keys", "expected: adv/ndcg@10: 1 at base, 2 at head"],
        True,
    )
    lines, equal = report(base, head, ["eff/*"])
    assert (lines[0], equal) == ("1 key differs, of 2 keys", False)


def test_a_failed_cell_is_not_equal() -> None:
    lines, equal = report("failed at base with status 2: no such key", values({"a": 1}), ())
    assert (lines, equal) == (["not compared", "failed at base with status 2: no such key"], False)


def test_times_and_speeds_of_a_run_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"eff/ndcg@10": 1.0, "cost/eval_seconds": 3.0}))
    lines = [{"step": step, "train/loss": 0.5, "train/pairs_per_second": step} for step in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_run(tmp_path) == Values({"eff/ndcg@10": 1.0}, {"train/loss": [(1, 0.5), (2, 0.5)]})


def test_chosen_cells_bring_those_that_they_read() -> None:
    assert [cell.name for cell in chosen(["pooled", "evaluate"])] == ["standard", "pooled", "evaluate"]
    assert len({cell.name for cell in CELLS}) == len(CELLS)


def test_commands_name_their_places_and_renamed_keys(tmp_path: Path) -> None:
    side = Side(
        "head", tmp_path, tmp_path, tmp_path / "data", {"eval": "measure"}, {"standard": tmp_path / "r"}
    )
    by_name = {cell.name: cell for cell in CELLS}
    command = side.command(by_name["local"])
    assert f"data.path={tmp_path}/data/inside" in command
    assert {"measure=full", "measure.draws=2", f"cache={tmp_path}/cache"} <= set(command)
    assert f"--model={tmp_path}/r/model" in side.command(by_name["evaluate"])


def test_the_local_collection_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_collection(tmp_path / name)
    files = [
        path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*l") if path.is_file()
    ]
    assert len(files) == 2 * len(SPLITS)
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--base"),
        (["--base", "HEAD", "--cells", "nothing"], "no cell 'nothing'"),
        (["--base", "HEAD", "--rename", "a"], "--rename a is not OLD=NEW"),
        (["--base", "no-such-revision"], "no commit 'no-such-revision'"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
