"""The robustness card: tables of whatever was measured, escaped pages, comparisons by hand."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from retrieval.config.attack import ATTACKS, attack_names
from retrieval.config.evaluation import PROBES, VARIATIONS
from retrieval.errors import DataError
from retrieval.evaluate import main
from retrieval.evaluation.card.command import card_of
from retrieval.evaluation.card.compare import compare
from retrieval.evaluation.card.layout import layout
from retrieval.evaluation.card.render import html, markdown, save_card
from retrieval.evaluation.card.store import Card, load_card
from sweeps.launch.compose import compose_command

METRICS = {
    "eff/ndcg@10": 0.5,
    "eff/contrastive_entropy": 1.5,
    "bm25/eff/ndcg@10": 0.4,
    "ood/ndcg@10": 0.3,
    "ood/far/ndcg@10": 0.3,
    "var/typo/ndcg@10": 0.38,
    "var/typo/drop/ndcg@10": 0.12,
    "var/typo/drop/ndcg@10/low": 0.1,
    "var/typo/drop/ndcg@10/high": 0.14,
    "var/typo/changed": 0.93,
    "var/case/drop/ndcg@10": 0.001,
    "bias/length/preference": 0.7,
    "bias/length/preference/low": 0.65,
    "bias/length/preference/high": 0.75,
    "bias/length/pairs": 300.0,
    "bias/position/preference": 0.49,
    "bias/position/preference/low": 0.44,
    "bias/position/preference/high": 0.54,
    "adv/auc": 0.3,
    "adv/wsra/auc": 0.3,
    "adv/wsra/random/top10_rate": 0.05,
    "bm25/adv/wsra/top10_rate": 0.1,
    "adv/curve/top10_rate@3": 0.2,
    "adv/clean/ndcg@10": 0.2,
    "eval/queries": 100.0,
    "eval/negatives": 256.0,
}


def card(**more: Any) -> Card:
    settings: dict[str, Any] = {
        "model": "a-model",
        "collections": {"eff": "1", "ood/far": "2"},
        "names": {"eff": "near", "ood/far": "far"},
        "metrics": METRICS,
        "seconds": 12.0,
        **more,
    }
    return Card(**settings)


def rows(page: Any, anchor: str) -> dict[str, list[str]]:
    (table,) = (table for table in page.tables if table.anchor == anchor)
    return {row[0]: row[1:] for row in table.rows}


def test_the_layout_has_a_table_of_every_kind_that_was_measured() -> None:
    page = layout(card())
    assert [table.anchor for table in page.tables] == ["collections", "variations", "biases", "attacks"]
    assert rows(page, "collections")["near"] == ["0.500", "", "", "1.500", "0.400"]
    assert list(rows(page, "collections")) == ["near", "far"]
    assert rows(page, "variations")["typo"][:2] == ["0.380", "0.120 [0.100, 0.140]"]
    assert rows(page, "variations")["typo"][3] == "93 %"
    biases = rows(page, "biases")
    assert biases["length"] == ["0.700 [0.650, 0.750]", "the biased text is preferred", "", "300"]
    assert biases["position"][1] == "no preference shown"
    assert rows(page, "attacks")["wsra"][0] == "0.300"
    assert rows(page, "attacks")["wsra"][-2:] == ["0.050", "0.100"]
    assert len(rows(page, "attacks")) == 1
    assert "Of the variations of queries, typo costs most: 0.120 [0.100, 0.140] nDCG@10." in page.sentences
    assert "In-domain nDCG@10 is 0.500, above BM25 (0.400)." in page.sentences


def test_kinds_that_nobody_foresaw_are_shown() -> None:
    metrics = {
        "var/slang/ndcg@10": 0.2,
        "adv/flood/auc": 0.4,
        "adv/drip/auc": 0.5,
        "bias/new/preference": 0.5,
    }
    page = layout(card(metrics=metrics))
    assert [table.anchor for table in page.tables] == ["variations", "biases", "attacks"]
    assert list(rows(page, "attacks")) == ["drip", "flood"]
    assert page.sentences == ["The attack that lifts passages most: drip, area 0.500 of 1."]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        assert not {"src", "href"} & {name for name, _ in attributes}


def test_pages_hold_no_markup_of_others() -> None:
    bad = "<script>alert(1)</script>"
    warning = {"code": "X", "message": f"{bad} | *a*"}
    page = layout(card(model=bad, names={"eff": bad, "ood/far": "far"}, warnings=[warning]))
    tags = Tags()
    tags.feed(html(page))
    assert "script" not in tags.found
    assert bad not in html(page)
    text = markdown(page)
    assert bad not in text
    assert r"\<script\>" in text
    assert r"\| \*a\*" in text


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    paths = save_card(card(), tmp_path)
    assert [path.name for path in paths] == ["card.json", "card.md", "card.html"]
    for place in (tmp_path, tmp_path / "card.json"):
        found = load_card(place)
        assert (found.model, found.metrics, found.collections) == ("a-model", METRICS, card().collections)
        assert found.scores is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no card; write one with"),
        ("{", "cannot be read as JSON"),
        ("[]", "is no card"),
        ('{"card": 1}', "is a damaged card"),
        ('{"metrics": {}}', "is no card"),
    ],
)
def test_what_is_no_card_is_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "card.json").write_text(content)
    with pytest.raises(DataError, match=message) as raised:
        load_card(tmp_path)
    assert "\n" not in str(raised.value)


def with_scores(folder: Path, scores: dict[str, np.ndarray], model: str) -> Card:
    metrics = {f"{name}/ndcg@10": float(values.mean()) for name, values in scores.items()}
    domains = [value for key, value in metrics.items() if key.startswith("ood/")]
    metrics |= {"ood/ndcg@10": float(np.mean(domains))} if domains else {}
    parts = [
        pd.DataFrame({"set": name, "query_id": [f"q{k}" for k in range(len(values))], "ndcg@10": values})
        for name, values in scores.items()
    ]
    (folder / "scores").mkdir(parents=True)
    # Rows in any order: they are paired by id.
    pd.concat(parts).sample(frac=1, random_state=0).to_parquet(folder / "scores" / "queries.parquet")
    save_card(card(model=model, metrics=metrics), folder)
    return load_card(folder)


def test_differences_are_paired_by_query(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    first = {name: generator.random(40) for name in ("eff", "ood/far", "ood/further", "var/typo")}
    gaps = {name: 0.05 + 0.1 * generator.standard_normal(40) for name in first}
    a = with_scores(tmp_path / "a", first, "A")
    b = with_scores(tmp_path / "b", {name: first[name] + gaps[name] for name in first}, "B")
    found = {line.metric: line for line in compare(a, b).lines}
    for name, gap in gaps.items():
        line = found[f"{name}/ndcg@10"]
        expected = stats.t.interval(0.95, 39, loc=gap.mean(), scale=stats.sem(gap))
        assert (line.low, line.high) == pytest.approx(expected)
        assert line.method == "paired"
        assert line.verdict == ("B better" if expected[0] > 0 else "")
    ood = found["ood/ndcg@10"]
    error = np.hypot(stats.sem(gaps["ood/far"]), stats.sem(gaps["ood/further"])) / 2
    mean = (gaps["ood/far"].mean() + gaps["ood/further"].mean()) / 2
    assert (ood.low, ood.high) == pytest.approx(stats.norm.interval(0.95, loc=mean, scale=error))
    assert compare(a, b).queries == 160


def test_equal_models_differ_by_nothing(tmp_path: Path) -> None:
    scores = {"eff": np.random.default_rng(1).random(30)}
    a, b = (with_scores(tmp_path / name, scores, name) for name in "ab")
    (line,) = compare(a, b).lines
    assert (line.difference, line.low, line.high, line.verdict) == (0, 0, 0, "")


def test_intervals_of_two_cards_make_one_of_the_difference() -> None:
    other = {**METRICS, "bias/length/preference": 0.6, "var/typo/drop/ndcg@10": 0.02}
    other |= {"bias/length/preference/low": 0.54, "bias/length/preference/high": 0.66}
    other |= {"var/typo/drop/ndcg@10/low": 0.01, "var/typo/drop/ndcg@10/high": 0.03}
    found = {line.metric: line for line in compare(card(), card(metrics=other)).lines}
    line = found["bias/length/preference"]
    # Zou and Donner 2008: −.1 − √(.06² + .05²), −.1 + √(.06² + .05²).
    half = np.hypot(0.06, 0.05)
    assert (line.low, line.high) == pytest.approx((-0.1 - half, -0.1 + half))
    # Nearer to one half is better, and so is a smaller drop.
    assert line.verdict == "B better"
    assert found["var/typo/drop/ndcg@10"].low == pytest.approx(-0.1 - np.hypot(0.01, 0.02))
    assert found["adv/auc"].method == "none"
    assert not {"bias/length/pairs", "adv/curve/top10_rate@3", "eval/queries"} & set(found)


def test_cards_of_other_measurements_are_refused() -> None:
    with pytest.raises(DataError, match=r"other texts or judgements under eff \(near\)"):
        compare(card(), card(collections={"eff": "3", "ood/far": "2"}))
    with pytest.raises(DataError, match=r"differ in eval/negatives \(256.0 and 20.0\)"):
        compare(card(), card(metrics={**METRICS, "eval/negatives": 20.0}))


def test_the_command_compares_two_cards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        with_scores(tmp_path / name, {"eff": np.random.default_rng(ord(name)).random(30)}, f"model {name}")
    folders, out = [str(tmp_path / name) for name in "ab"], tmp_path / "out.json"
    assert main(["--compare", *folders, "--out", str(out)]) == 0
    assert "A: model a\nB: model b\n30 scored queries in common, over all sets." in capsys.readouterr().out
    assert json.loads(out.read_text())["lines"][0]["metric"] == "eff/ndcg@10"
    assert main(["--compare", *folders, "seed=1"]) == 2
    assert "takes two cards and measures nothing" in capsys.readouterr().err
    assert main(["--compare", folders[0], str(tmp_path / "none")]) == 2
    assert "there is no card" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_has_a_card(
    numbered_collection: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.evaluation.test_against_beir import save_model

    collection = numbered_collection(passages=400, queries=60)
    model = save_model(collection, tmp_path / "model")
    out = tmp_path / "card"
    options = ["data=local", f"data.path={collection.folder}", f"cache={tmp_path / 'cache'}", "attack=none"]
    assert main(["--model", str(model), "suite=robustness", *options, "--card", str(out)]) == 0
    said = capsys.readouterr().out
    assert "Effectiveness and other domains" in said
    found = load_card(out)
    assert found.metrics["eff/ndcg@10"] > 0.9
    assert found.scores is not None
    assert (out / "card.html").read_text().startswith("<!DOCTYPE html>")
    # As they are, and in six variations.
    assert compare(found, found).queries == 7 * 60
    assert {"var/typo/drop/ndcg@10", "bias/literal/preference"} <= set(found.metrics)


def test_a_card_leaves_out_what_steers() -> None:
    from retrieval.evaluation.suite import Measured

    measured = Measured({"eff/ndcg@10": 0.5, "dev/eff/ndcg@10": 0.4}, {})
    assert card_of(measured, "m", [], 1.0).metrics == {"eff/ndcg@10": 0.5}


def test_the_suite_asks_for_every_kind_that_needs_no_file() -> None:
    config = compose_command(["suite=robustness"])[0].config
    assert set(config.eval.variations) == set(VARIATIONS) - {"synonyms"}
    assert set(config.eval.probes) == set(PROBES)
    assert set(attack_names(config.attack)) == set(ATTACKS)


def test_the_bar_counts_parts_that_have_ended(capsys: pytest.CaptureFixture[str]) -> None:
    from tqdm import tqdm

    from retrieval.evaluation.progress import BarOfSteps

    with tqdm(disable=False) as bar:
        steps = BarOfSteps(bar)
        steps.expect(["eff", "ood/far", "adv"])
        counts = []
        for name in ("eff", "ood/far", "adv"):
            steps.begin(name)
            counts.append(bar.n)
        assert (counts, bar.total) == ([0, 1, 2], 3)
    assert "adv" in capsys.readouterr().err
