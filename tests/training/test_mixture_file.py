"""The file that training takes ω from: values by hand, refusals of one line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from retrieval.errors import ConfigError
from retrieval.training.mixture_file import load_mixture


def record(**changes: Any) -> dict[str, Any]:
    law = {
        "intercept": 8.0,
        "ln_train_pairs": -1.0,
        "ln_params_non_embedding": 0.1,
        "draws": [[8.0 + 0.01 * i, -1.0, 0.1] for i in range(-100, 101)],
        "max_error": 0.02,
        "range": {"params_non_embedding": [5e5, 5e6], "train_pairs": [1e3, 1e4]},
    }
    conditions = {"train_steps": 600, "pairs_per_step": 64.0, "robust": "ood", "base_strategy": "standard"}
    whole = {
        "kind": "mixture",
        "steers": True,
        "level": 0.95,
        "metrics": {"eff": "dev/eff/contrastive_entropy", "rob": "dev/ood/contrastive_entropy"},
        "conditions": conditions | {"data": "pydocs", "mixing": "steps"},
        "optimum": {goal: json.loads(json.dumps(law)) for goal in ("knee", "eff", "rob")},
    }
    return whole | changes


def write(folder: Path, value: Any) -> Path:
    path = folder / "mixture.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_omega_is_the_logistic_of_the_law(tmp_path: Path) -> None:
    law = load_mixture(write(tmp_path, record()))
    omega, low, high = law.omega("knee", 1e6, 5e3)
    logit = 8.0 - math.log(5e3) + 0.1 * math.log(1e6)
    assert omega == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-12)
    # 201 draws, evenly spaced from −1 to 1 about it: the 2.5 % quantile is at −.95.
    assert low == pytest.approx(1 / (1 + math.exp(-logit + 0.95)), rel=1e-9)
    assert high == pytest.approx(1 / (1 + math.exp(-logit - 0.95)), rel=1e-9)


def test_omega_stays_within_its_clip(tmp_path: Path) -> None:
    law = load_mixture(write(tmp_path, record()))
    assert law.omega("rob", 1e6, 1e30) == (0.005, 0.005, 0.005)
    assert law.omega("eff", 1e6, 1e-30) == (0.995, 0.995, 0.995)


def test_one_draw_is_its_own_interval(tmp_path: Path) -> None:
    value = record()
    value["optimum"]["knee"]["draws"] = [[7.0, -1.0, 0.1]]
    omega, low, high = load_mixture(write(tmp_path, value)).omega("knee", 1e6, 5e3)
    assert low == high < omega


def test_extrapolation_is_said_beyond_twice_the_range(tmp_path: Path) -> None:
    law = load_mixture(write(tmp_path, record()))
    assert law.extrapolation("knee", 9.9e6, 501) is None
    said = law.extrapolation("knee", 2e7, 1e2)
    assert said is not None
    assert said.startswith("N=2e+07 lies 4× outside 5e+05 to 5e+06; D=100 lies 10×")


def test_conditions_must_be_the_runs_own(tmp_path: Path) -> None:
    law = load_mixture(write(tmp_path, record()))
    law.check(600, 64, "ood", "standard")
    for asked, name in (
        ((300, 64, "ood", "standard"), "train_steps = 600, this run has 300"),
        ((600, 32, "ood", "standard"), "pairs_per_step = 64, this run has 32"),
        ((600, 64, "adversarial", "standard"), "robust = ood, this run has adversarial"),
        ((600, 64, "ood", "denoising"), "base_strategy = standard, this run has denoising"),
        ((600, 64, "ood", "standard", "loss"), "mixing = steps, this run has loss"),
    ):
        with pytest.raises(ConfigError, match=name) as caught:
            law.check(*asked)
        assert "\n" not in str(caught.value)


def without(key: str) -> dict[str, Any]:
    value = record()
    del value["optimum"]["eff"][key]
    return value


def garbled(key: str, content: Any) -> dict[str, Any]:
    value = record()
    value["optimum"]["knee"][key] = content
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "kind is 'list', expected 'mixture'"),
        ({"kind": "frontier"}, "kind is 'frontier', expected 'mixture'"),
        (record(steers=False), "which may not steer training; fit dev metrics: `python -m sweeps mixture"),
        (record(optimum={}), "no 'knee'"),
        (record(level=2.0), "level = 2.0 must lie between 0 and 1"),
        (record(level="high"), "level = 'high' is not a number"),
        (record(conditions=None), "not a whole mixture record"),
        (without("draws"), "no 'draws'"),
        (garbled("draws", []), "optimum.knee.draws is empty"),
        (garbled("draws", [[1.0, 2.0]]), "optimum.knee.draws needs three numbers"),
        (garbled("intercept", None), "optimum.knee = None is not a number"),
        (garbled("range", {"params_non_embedding": [2, 1], "train_pairs": [1, 2]}), "is not a range"),
    ],
)
def test_a_file_that_cannot_steer_is_refused_in_one_line(tmp_path: Path, value: Any, words: str) -> None:
    path = write(tmp_path, value)
    with pytest.raises(ConfigError) as caught:
        load_mixture(path)
    said = str(caught.value)
    assert words in said
    assert said.startswith(f"strategy.mixture={path}")
    assert "\n" not in said
    assert "python -m sweeps mixture" in said


def test_a_missing_file_and_bad_questions(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; write one with"):
        load_mixture(tmp_path / "none.json")
    law = load_mixture(write(tmp_path, record()))
    with pytest.raises(ConfigError, match="no goal 'best'; choose one of knee, eff, rob"):
        law.omega("best", 1e6, 1e3)
    with pytest.raises(ConfigError, match="train_pairs = 0 must be a positive number"):
        law.omega("knee", 1e6, 0)
