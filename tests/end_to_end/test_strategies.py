"""Every strategy, perturbation, robustness objective and rule of ω in whole runs of a few steps."""

from __future__ import annotations

import itertools
import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from retrieval.config import StrategyConfig
from retrieval.config.knobs import choices
from retrieval.config.strategy import RULES as CLASSES
from retrieval.config.validation import validate
from retrieval.errors import ConfigError
from retrieval.pipeline import run_cell
from tests.end_to_end.conftest import Compose, composed
from tests.end_to_end.test_run import directory_of, terminated_at, weights

TWO_STEPS = ("train.steps=2", "trainer.log_every=1", "eval=none")
BASES, ROBUST, RULES = (choices(StrategyConfig, key) for key in ("base", "robust", "rule"))
GRADIENT_RULES = [name for name, rule in CLASSES.items() if rule.by_gradients]
EVERY = [
    *((base, robust, "dro") for base, robust in itertools.product(BASES, ROBUST)),
    # `law` needs a file and `anchor` a pretrained start: test_omega_rules.py.
    *(
        (base, robust, rule)
        for (base, robust), rule in itertools.product((("standard", "ood"), ("adversarial", "both")), RULES)
        if rule not in ("dro", "law", "anchor") and (rule != "proxy" or robust == "ood")
    ),
]
MGDA = ("strategy=pareto", "strategy.rule=mgda", "strategy.mixing=loss")
needs_extra = pytest.mark.skipif(
    find_spec("torchjd") is None, reason="the extra `gradients` is not installed"
)


def pareto(base: str, robust: str, rule: str) -> tuple[str, ...]:
    options = (
        "strategy=pareto",
        f"strategy.base={base}",
        f"strategy.robust={robust}",
        f"strategy.rule={rule}",
    )
    if rule in GRADIENT_RULES:
        return (*options, "strategy.mixing=loss")
    return (*options, "strategy.omega=0.3") if rule in ("fixed", "schedule") else options


def check(small: Compose, *options: str) -> dict[str, Any]:
    config = small(*TWO_STEPS, *options)
    result = run_cell(config)
    lines = directory_of(config).metrics()
    assert [line["step"] for line in lines] == [1, 2]
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert result["train/pairs_per_step"] == 8
    assert result["cost/train_flops"] > 0
    # Two steps repeat no pair, and the rule `repeats` says so.
    assert {warning["code"] for warning in result["warnings"]} <= {"OMEGA_ZERO", "ROBUST_DATA_NO_HELP"}
    return result


def run_pareto(small: Compose, base: str, robust: str, rule: str) -> None:
    result = check(small, *pareto(base, robust, rule))
    assert result["base_strategy"] == base
    if rule == "auto":
        rule = "proxy" if robust == "ood" else "dro"
    assert (result["omega/rule"], result["omega/robust"]) == (rule, robust)
    assert 0 <= result["omega/final"] <= 1
    if rule == "fixed":
        assert result["omega/final"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("base", "robust", "rule"),
    [pytest.param(*case, marks=needs_extra if case[2] in GRADIENT_RULES else ()) for case in EVERY],
)
def test_every_base_composes_with_every_objective_and_rule(
    small: Compose, base: str, robust: str, rule: str
) -> None:
    run_pareto(small, base, robust, rule)


@pytest.mark.parametrize("strategy", [name for name in choices(StrategyConfig, "name") if name != "pareto"])
def test_every_strategy_runs(small: Compose, strategy: str) -> None:
    result = check(small, f"strategy={strategy}")
    assert (result["strategy"], result["base_strategy"]) == (strategy, strategy)


@pytest.mark.parametrize("kind", choices(StrategyConfig, "perturbation.kind"))
def test_every_perturbation_runs_and_costs_what_it_takes(small: Compose, kind: str, tmp_path: Path) -> None:
    clean = check(small, "strategy=standard")
    options = [f"strategy.perturbation.kind={kind}"]
    if kind == "synonyms":
        run = directory_of(small(*TWO_STEPS, "strategy=standard"))
        vocabulary = json.loads((run.model / "tokenizer.json").read_text())["model"]["vocab"]
        words = [word for word in vocabulary if word.isalpha()]
        (tmp_path / "list.json").write_text(json.dumps(dict.fromkeys(words, words[:3])))
        options.append(f"strategy.perturbation.synonyms={tmp_path / 'list.json'}")
    perturbed = check(small, "strategy=adversarial", *options)
    assert perturbed["perturbation/kind"] == kind
    # Same pairs a step; a gradient of half of the passages is two passes on top of the three of all texts.
    # Typing errors change the number of tokens, and inserted queries make passages longer.
    ratio = perturbed["cost/train_flops"] / clean["cost/train_flops"]
    bounds = {"noise": (0.9, 1.1), "typo": (0.9, 1.2), "insertion": (1.0, 1.3), "pgd": (1.7, 2.2)}
    lower, upper = bounds.get(kind, (1.2, 1.6))
    assert lower < ratio < upper


@pytest.mark.parametrize(
    "options",
    [
        ("strategy=adversarial", "strategy.perturbation.kind=noise"),
        pytest.param(
            (
                "strategy=pareto",
                "strategy.mixing=loss",
                "strategy.robust=both",
                "strategy.rule=mgda",
                "strategy.recalibrate=2",
            ),
            marks=needs_extra,
        ),
    ],
)
def test_a_stopped_run_resumes_to_the_same_bits(
    small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    options = (*options, "model.dropout=0.1", "eval=none", "train.steps=8")
    whole, parted = small(*options), small(*options, f"runs={tmp_path / 'parted'}")
    expected_result = run_cell(whole)
    terminated_at(parted, 6)
    result = run_cell(parted)
    expected, found = weights(directory_of(whole)), weights(directory_of(parted))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    for key in ("cost/train_flops", "train/pairs_seen", "omega/final", "omega/proxy_correlation"):
        assert result.get(key) == expected_result.get(key), key


def test_recalibration_measures_dev_pairs_and_is_logged(small: Compose) -> None:
    config = small("strategy=pareto", "strategy.rule=dro", "strategy.recalibrate=3", "eval=none")
    result = run_cell(config)
    lines = directory_of(config).metrics()
    for side in ("eff", "rob"):
        measured = [line[f"val/{side}_contrastive_entropy"] for line in lines]
        assert all(0 < value < 6 for value in measured)
        assert len(set(measured)) == len(measured)
    assert -1 <= result["omega/proxy_correlation"] <= 1


def test_the_frontier_of_a_sweep_sets_the_target(small: Compose, tmp_path: Path) -> None:
    frontier = tmp_path / "frontier.json"
    frontier.write_text(
        """{"x": "dev/eff/contrastive_entropy", "y": "dev/ood/contrastive_entropy",
        "knee": {"x": 0.1, "y": 0.2}, "points": [{"x": 0.1, "y": 0.2, "non_dominated": true}]}"""
    )
    result = run_cell(small("strategy=pareto", f"strategy.frontier={frontier}"))
    assert (result["omega/initial"], result["omega/target_ratio"]) == (pytest.approx(2 / 3), pytest.approx(2))
    assert result["omega/target_source"] == str(frontier)
    # Twelve steps do not reach contrastive entropies of 0.1 and 0.2.
    assert "FRONTIER_NOT_REACHED" in [warning["code"] for warning in result["warnings"]]


def test_a_rule_that_runs_into_its_bound_is_named(small: Compose) -> None:
    options = ("strategy.rule=linear", "strategy.eta=50", "trainer.log_every=1", "eval=none")
    result = run_cell(small("strategy=pareto", *options))
    assert {warning["code"] for warning in result["warnings"]} & {"OMEGA_SATURATED", "OMEGA_OSCILLATES"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("strategy=adversarial", "strategy.mixing=loss", "train.batch_size=3"),
            r"train\.batch_size=3 .*use 4 or more",
        ),
        (
            ("strategy=pareto", "strategy.mixing=loss", "strategy.robust=both", "train.batch_size=7"),
            r"batch_size=7 .*use 8 or more",
        ),
        (("strategy=pareto", "strategy.budget=extra"), r"budget=extra .*strategy\.mixing=loss"),
        (("strategy=pareto", "strategy.rule=mgda"), r"rule=mgda .*set strategy\.mixing=loss"),
        ((*MGDA, "strategy.omega=0.5"), r"strategy\.omega=0\.5 .*mgda"),
        ((*MGDA, "trainer.devices=2"), r"trainer\.devices=2"),
        (("strategy=pareto", "strategy.rule=law"), r"rule=law needs strategy\.mixture=FILE; write one with"),
        (
            ("strategy=pareto", "strategy.rule=dev", "strategy.mixture=m.json"),
            r"strategy\.mixture=m\.json would not be used",
        ),
        (("strategy=pareto", "strategy.rule=schedule"), r"rule=schedule needs strategy\.omega"),
        (("strategy=pareto", "strategy.schedule=switch"), r"schedule=switch .*set strategy\.rule=schedule"),
        (
            ("strategy=pareto", "strategy.rule=soup", "strategy.omegas=[0.5]"),
            r"strategy\.omegas=\[0\.5\] must be a low and a high",
        ),
        (("strategy=standard", "strategy.recalibrate=5"), r"strategy\.recalibrate=5 .*strategy=pareto"),
        (
            ("strategy=adversarial", "strategy.perturbation.kind=flip"),
            r"kind=flip .*fgsm, insertion, noise, pgd",
        ),
        (("strategy=pareto", "strategy.base=pareto"), r"strategy\.base=pareto .*valid: adversarial"),
        (
            ("strategy=denoising", "strategy.denoise.margin=percentile"),
            r"margin=percentile .*teacher=bm25 .*valid with it: absolute, relative; or name a cross-encoder",
        ),
        (
            ("strategy=pareto", "strategy.base=denoising", "strategy.denoise.margin=percentile"),
            r"margin=percentile .*teacher=bm25",
        ),
    ],
)
def test_a_configuration_that_cannot_work_is_one_clear_line(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        validate(composed("data=synthetic", *options))
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.training.omega.by_gradients.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs torchjd.*pip install 'paretrieve\[gradients\]'"):
        validate(
            composed("data=synthetic", "strategy=pareto", "strategy.rule=upgrad", "strategy.mixing=loss")
        )
