"""The curve of an attack over its budget: by hand, against attacks with smaller budgets, and in its file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import DataError
from retrieval.evaluation.adversarial.curve import areas_of, curves
from retrieval.evaluation.adversarial.records import Attacked, Moment, load_attacked, save_attacked
from retrieval.evaluation.suite import Measured
from tests.evaluation.attack_setup import Setup, make_setup

NAMES = ("top10_rate", "success_rate", "rank_boost")


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return make_setup(tmp_path_factory.mktemp("attack") / "collection")


def curve_of(metrics: dict[str, float], name: str) -> list[float]:
    found = [key for key in metrics if key.startswith(f"adv/curve/{name}@")]
    return [metrics[f"adv/curve/{name}@{words}"] for words in range(len(found))]


def way(ranks: list[int], tries: int = 3) -> tuple[Moment, ...]:
    """A passage at these ranks after 0, 1, … words, each after some texts, that ends some texts later."""
    moments = [Moment(words, 1 + tries * words, 0.0, rank, words or None) for words, rank in enumerate(ranks)]
    return (*moments, Moment(len(ranks) - 1, 1 + tries * (len(ranks) + 1), 0.0, ranks[-1]))


def test_a_curve_by_hand() -> None:
    traces = [way([60, 30, 8]), way([55]), way([70, 9])]
    before, after = np.array([60, 55, 70]), np.array([8, 55, 9])
    found = curves(traces, before, after, 3)
    assert curve_of(found, "top10_rate") == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3])
    assert curve_of(found, "success_rate") == pytest.approx([0, 2 / 3, 2 / 3, 2 / 3])
    assert curve_of(found, "rank_boost") == pytest.approx([0, 91 / 3, 113 / 3, 113 / 3])
    # Without words an attack ends at its start. With one, the first and the third passage end after 1 + 3
    # texts; the second takes none and ends after the 7 that it is tried with. So does the third at 10.
    assert curve_of(found, "queries") == [1 + 1 + 1, 4 + 7 + 4, 7 + 7 + 10, 13 + 7 + 10]
    # Trapezoids: (0 + 1/3)/2 + (1/3 + 2/3)/2 + 2/3 of 3.
    assert found["adv/auc"] == pytest.approx((1 / 6 + 1 / 2 + 2 / 3) / 3)
    assert "adv/auc/low" not in found


def test_the_interval_of_an_area_is_over_queries() -> None:
    # Areas of the columns: 1.5/3, 0 and 2.5/3; means by query: 1/4 and 5/6.
    reached = np.array([[0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 0, 1]], dtype=bool)
    found = areas_of(reached, [4, 4, 7])
    half = 12.706204736 * (5 / 6 - 1 / 4) / 2  # Student's, of one degree of freedom
    assert found == pytest.approx(
        {"": 4 / 9, "/low": max(0.0, 4 / 9 - half), "/high": min(1.0, 4 / 9 + half)}
    )
    wide = areas_of(np.repeat(reached, 40, axis=1), list(range(120)))
    assert wide[""] == pytest.approx(4 / 9)
    assert 0.35 < wide["/low"] < wide[""] < wide["/high"] < 0.54


@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=6), min_size=1, max_size=5))
def test_a_passage_that_only_rises_gives_curves_that_only_rise(ranks: list[list[int]]) -> None:
    falling = [sorted(own, reverse=True) for own in ranks]
    before, after = (np.array([own[end] for own in falling]) for end in (0, -1))
    found = curves([way(own) for own in falling], before, after, 6)
    for name in (*NAMES, "queries"):
        assert np.all(np.diff(curve_of(found, name)) >= 0)
    assert found["adv/curve/success_rate@0"] == 0
    assert found["adv/curve/rank_boost@6"] == (before - after).mean()
    assert 0 <= found["adv/auc"] <= 1


@pytest.mark.parametrize("changes", [{}, {"accept": "score"}, {"importance": "random"}, {"similarity": 0.5}])
def test_the_last_point_is_the_measured_result(setup: Setup, changes: dict[str, object]) -> None:
    found = setup.attack(**changes)
    metrics = found.metrics
    for name in NAMES:
        assert curve_of(metrics, name)[-1] == metrics[f"adv/{name}"]
    assert curve_of(metrics, "queries")[-1] == metrics["adv/queries"] == metrics["cost/attack_queries"]
    assert found.attacked is not None
    for entry in found.attacked:
        assert entry.trace is not None
        # The search's own ranks at both ends: it compares with candidates a rank deeper than any target.
        assert [entry.trace[0].rank, entry.trace[-1].rank] == [entry.rank_before, entry.rank_after]
        edits = [moment.start for moment in entry.trace[1:-1]]
        assert sorted(edits) == [word.start for word in entry.words]  # type: ignore[type-var]
        assert [moment.words for moment in entry.trace[1:-1]] == list(range(1, len(entry.words) + 1))
        assert entry.trace[-1].words == len(entry.words)


@pytest.mark.parametrize("words", [1, 2, 3])
def test_a_point_is_what_an_attack_with_that_budget_measures(setup: Setup, words: int) -> None:
    whole, small = setup.attack().metrics, setup.attack(words=words).metrics
    for name in (*NAMES, "queries"):
        assert whole[f"adv/curve/{name}@{words}"] == small[f"adv/{name}"]
        assert curve_of(small, name) == curve_of(whole, name)[: words + 1]


def test_a_replay_has_no_curve_and_an_old_file_still_loads(setup: Setup, tmp_path: Path) -> None:
    found: Measured = setup.attack()
    assert found.attacked is not None
    path, old = tmp_path / "attack.jsonl", tmp_path / "old.jsonl"
    save_attacked(found.attacked, path)
    assert load_attacked(path) == found.attacked
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines[0]["trace"][0].keys() == {"words", "queries", "score", "rank", "start"}
    without = [{name: value for name, value in line.items() if name != "trace"} for line in lines]
    old.write_text("".join(json.dumps(line) + "\n" for line in without), encoding="utf-8")
    assert all(entry.trace is None for entry in load_attacked(old))
    for file in (path, old):
        replayed = setup.attack(name="none", replay=str(file))
        assert not any("curve" in key for key in replayed.metrics)
        assert "adv/auc" not in replayed.metrics
        assert replayed.attacked is not None
        save_attacked(replayed.attacked, tmp_path / "again.jsonl")
        assert "trace" not in (tmp_path / "again.jsonl").read_text(encoding="utf-8")


def test_a_malformed_way_is_named(tmp_path: Path) -> None:
    entry = Attacked("q", "p", 60, 60, 1.0, (), "text", "text", way([60]))
    path = tmp_path / "attack.jsonl"
    save_attacked([entry], path)
    assert load_attacked(path) == [entry]
    path.write_text(path.read_text().replace('"rank": 60', '"place": 60'))
    with pytest.raises(DataError, match=r"attack\.jsonl:1: not an attacked passage"):
        load_attacked(path)
