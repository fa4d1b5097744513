"""The page of results says what the committed records say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

RESULTS = Path(__file__).parents[2] / "docs" / "results"

Record = Mapping[str, Any]


def record(name: str) -> Record:
    """A record by ``study/name``."""
    study, file = name.split("/")
    found: Record = json.loads((RESULTS / study / "records" / f"{file}.json").read_text(encoding="utf-8"))
    return found


def page() -> str:
    return (RESULTS / "README.md").read_text(encoding="utf-8")


def pages() -> str:
    """The page, and the findings in full that it leads to."""
    findings = (RESULTS / "findings.md").read_text(encoding="utf-8")
    return page() + " ".join(findings.split())  # a line may end within an interval


def plain(value: float, digits: int) -> str:
    """``.079``, ``2.01``, ``−.175``: no zero before the point."""
    return re.sub(r"^(−?)0\.", r"\1.", f"{value:.{digits}f}".replace("-", "−"))


def signed(value: float, digits: int) -> str:
    return plain(value, digits) if value < 0 else f"+{plain(value, digits)}"


def with_interval(value: float, low: float, high: float, digits: int) -> str:
    """``.30 [.27, .44]``, as the page writes a value with its interval."""
    return f"{plain(value, digits)} [{plain(low, digits)}, {plain(high, digits)}]"


def of_fit(file: Record, parameter: str, digits: int = 2) -> str:
    fit = file["groups"]["standard"]
    return with_interval(fit["params"][parameter], *fit["intervals"][parameter], digits)


def of_slope(file: Record, kind: str) -> tuple[float, float, float]:
    found = next(
        one
        for one in file["groups"]["standard"]["differences"]
        if (one["resource"], one["kind"]) == ("D", kind)
    )
    return found["difference"], *found["interval"]


def of_mean(file: Record, second: str, metric: str, strategy: str) -> tuple[float, float, float]:
    """Family less dual encoder in the mean of the four settings."""
    (found,) = (
        one
        for one in file["equal"]
        if (one["strategy"], one["metric"], one["equal"]) == (strategy, metric, "N and D")
        and (one["first"], one["second"], one["places"]) == ("dual-encoder", second, 4)
        and not one["at"]
    )
    return found["difference"], found["low"], found["high"]


def of_proxy(file: Record, proxy: str, target: str) -> str:
    (found,) = (row for row in file["rows"] if (row["proxy"], row["target"]) == (proxy, target))
    return with_interval(*(found["regret"][key] for key in ("mean", "low", "high")), 3)


def of_cell(file: Record, cell: str, metric: str) -> Record:
    (found,) = (one["by"][metric] for one in file["cells"] if one["name"] == cell)
    return dict(found)


def half_width(found: Record) -> str:
    half = (found["high"] - found["low"]) / 2
    return f"{signed(found['difference'], 3)} ± {plain(half, 3)}"


@pytest.mark.parametrize("name", ["fit-eff", "fit-ood", "fit-adv"])
def test_exponents_of_data(name: str) -> None:
    assert of_fit(record(f"pydocs/{name}"), "beta") in page()


@pytest.mark.parametrize("name", ["fit-eff-model", "fit-ood-model"])
def test_exponents_of_size(name: str) -> None:
    assert of_fit(record(f"pydocs/{name}"), "alpha") in pages()


def test_sensitivities_to_data() -> None:
    file, text = record("pydocs/sensitivity-ood"), page()
    slope, exponent = of_slope(file, "local"), of_slope(file, "exponent")
    value, low, high = (-each for each in slope)
    assert with_interval(value, high, low, 3) in text
    assert f"{plain(exponent[0], 3)} [{plain(exponent[1], 3)}, {signed(exponent[2], 3)}]" in text


@pytest.mark.parametrize(
    ("file", "second", "metric", "strategy", "digits"),
    [
        ("families-ndcg", "multi-vector", "ood/ndcg@10", "standard", 3),
        ("families-ndcg", "multi-vector", "eff/ndcg@10", "fixed ω=0.25", 3),
        ("families-ndcg", "sparse", "ood/ndcg@10", "standard", 3),
        ("families", "sparse", "ood/contrastive_entropy", "standard", 2),
    ],
)
def test_families(file: str, second: str, metric: str, strategy: str, digits: int) -> None:
    found = of_mean(record(f"families/{file}"), second, metric, strategy)
    assert with_interval(*found, digits) in pages()


@pytest.mark.parametrize("family", ["multi-vector", "sparse"])
def test_exponents_of_families(family: str) -> None:
    (found,) = (
        test
        for test in record("families-by-data/families")["tests"]
        if (test["strategy"], test["metric"]) == ("standard", "ood/contrastive_entropy")
        and (test["first"], test["second"]) == ("dual-encoder", family)
    )
    assert found["differs"]
    assert with_interval(found["difference"], *found["interval"], 3) in page()


def test_answers_have_two_sentences_and_a_link() -> None:
    rows = re.findall(r"^\| (.*?\?) \| (.*) \|$", page(), flags=re.MULTILINE)
    assert rows
    for question, answer in rows:
        plain_text = re.sub(r"\([^()]*\)", "", re.sub(r"\[[^]]*\]\([^)]*\)", "", answer))
        assert len(re.findall(r"[.] +(?=[A-ZΑ-ω`\d])", plain_text)) == 1, question
        assert "](" in answer, question


@pytest.mark.parametrize(
    ("proxy", "target"),
    [
        ("training loss", "eff/contrastive_entropy"),
        ("training loss", "mean of both"),
        ("dev metric", "mean of both"),
        ("dev metric", "ood/contrastive_entropy"),
    ],
)
def test_proxies(proxy: str, target: str) -> None:
    assert of_proxy(record("pydocs/alignment"), proxy, target) in page()


def test_when_to_stop() -> None:
    file = record("steps/alignment")
    assert of_proxy(file, "training loss", "eff/contrastive_entropy") in page()
    assert of_proxy(file, "dev metric", "eff/contrastive_entropy") in pages()


def test_multipliers_at_the_fewest_pairs() -> None:
    levels = [one for one in record("pydocs/efficiency")["levels"] if one["resource"] == "D"]
    few = [one for one in levels if one["scale"] == 1431]
    assert len(few) == 4

    def ends(metric: str) -> str:
        values = sorted(one[metric]["multiplier"] for one in few)
        return f"{values[0]:.1f} to {values[-1]:.1f} times"

    assert ends("ood/contrastive_entropy") in page()
    assert ends("eff/contrastive_entropy") in page()


@pytest.mark.parametrize("frac", [0.05, 0.5])
def test_best_omega(frac: float) -> None:
    cells = record("pydocs/mixture")["cells"]
    (found,) = (one["optimum"]["knee"] for one in cells if (one["model"], one["frac"]) == ("bert-tiny", frac))
    assert with_interval(found["omega"], found["low"], found["high"], 2) in page()


def test_regret_of_the_law() -> None:
    cells = record("pydocs/compare-regret")["regret"]["by"]["mean"]["reported"]["policies"]["pareto law"][
        "cells"
    ]
    worst = max(cells.values(), key=lambda one: one["regret"])
    assert with_interval(worst["regret"], worst["low"], worst["high"], 3) in page()


@pytest.mark.parametrize(
    ("metric", "set_name"), [("eff/ndcg@10", "in-domain"), ("ood/scifact/ndcg@10", "scifact")]
)
def test_fine_tuning(metric: str, set_name: str) -> None:
    file = record("collections/compare-untrained")
    (cell,) = (one["name"] for one in file["cells"] if one["name"].endswith("frac 0.025"))
    assert re.search(rf"{re.escape(half_width(of_cell(file, cell, metric)))}[^.|]*{set_name}", page())


def test_interpolation() -> None:
    (cell,) = (
        one["by"]["eff/contrastive_entropy"]
        for one in record("collections/compare-interpolated-entropy")["cells"]
        if "c=0.5" in one["name"]
    )
    assert with_interval(cell["difference"], cell["low"], cell["high"], 3) in page()


def test_runs_of_every_study() -> None:
    rows = re.findall(r"^\| \[([\w-]+)\]\([\w-]+/\) \|[^|]*\| (\d+)", page(), flags=re.MULTILINE)
    known = {name: int(count) for name, count in rows if (RESULTS / name / "runs.csv").exists()}
    assert known.keys() == {path.parent.name for path in RESULTS.glob("*/runs.csv")}
    for name, count in known.items():
        assert len(pd.read_csv(RESULTS / name / "runs.csv", usecols=["run"])) == count, name
