from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from retrieval.config import DEFAULT_RULES, StrategyConfig
from retrieval.config.strategy import RULES
from retrieval.errors import ConfigError
from retrieval.training.omega.controller import OmegaController
from retrieval.training.omega.rule import Facts, chosen_rule
from retrieval.training.omega.rules.guarded import probability
from retrieval.training.omega.target import Target, load_target

DEV = {"x": "dev/eff/contrastive_entropy", "y": "dev/ood/contrastive_entropy"}


def controller(target: Target | None = None, **changes: object) -> OmegaController:
    facts = Facts(target or Target(1.0, 1.0, "prior"), {"steps": 100, "batch_size": 64, "train_pairs": 100})
    config = StrategyConfig(name="pareto", **{"rule": "dro", **changes})  # type: ignore[arg-type]
    return OmegaController(config, facts)


def update(control: OmegaController, eff: float, rob: float) -> float:
    control.update(torch.tensor(eff), torch.tensor(rob))
    return float(control.omega)


def test_dro_against_values_computed_by_hand() -> None:
    # E* = 2, R* = 3: ω₀ = 3/5, logit ω₀ = ln 1.5.
    control = controller(Target(2.0, 3.0, "test"), decay=0.9)
    assert float(control.omega) == pytest.approx(0.6)
    # Step 1: averages start at the losses; d = 4.5/3 − 2/2 = 0.5.
    logit = math.log(1.5) + 0.1 * 0.5
    assert update(control, 2.0, 4.5) == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-6)
    # Step 2: Ē = .9·2 + .1·1 = 1.9, R̄ = .9·4.5 + .1·3 = 4.35; d = 1.45 − 0.95 = 0.5.
    logit += 0.1 * 0.5
    assert update(control, 1.0, 3.0) == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-6)
    assert float(control.distance) == pytest.approx(0.5, abs=1e-6)


def test_linear_rule_against_values_computed_by_hand() -> None:
    control = controller(rule="linear", decay=0.0)
    assert update(control, 1.0, 2.0) == pytest.approx(0.6)
    assert update(control, 2.0, 0.5) == pytest.approx(0.45)


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.2, 5))
@settings(deadline=None)
def test_losses_on_the_ray_are_a_fixed_point(eff: float, rob: float, scale: float) -> None:
    control = controller(Target(eff, rob, "test"))
    start = float(control.omega)
    for _ in range(5):
        assert update(control, scale * eff, scale * rob) == pytest.approx(start, abs=1e-4)


@given(st.floats(0.1, 5), st.floats(0.1, 5))
@settings(deadline=None)
def test_the_loss_that_lags_behind_gains_weight(eff: float, rob: float) -> None:
    control = controller()
    start = float(control.omega)
    moved = update(control, eff, rob)
    assert (moved - start) * (rob - eff) >= 0


def test_omega_stays_within_its_bounds() -> None:
    control = controller(omega_min=0.2, omega_max=0.7)
    for _ in range(200):
        update(control, 0.1, 9.0)
    assert float(control.omega) == pytest.approx(0.7)
    for _ in range(400):
        update(control, 9.0, 0.1)
    assert float(control.omega) == pytest.approx(0.2)


@pytest.mark.parametrize("omega", [0.0, 0.25, 1.0])
def test_fixed_omega_never_moves(omega: float) -> None:
    control = controller(rule="fixed", omega=omega)
    assert update(control, 1.0, 5.0) == omega
    assert float(control.distance) == 4.0


def test_state_continues_where_it_was_taken() -> None:
    first, second = controller(), controller()
    update(first, 1.0, 2.0)
    first.recalibrate(1, torch.tensor(2.0), torch.tensor(3.0))
    second.load_state_dict(first.state_dict())
    assert update(first, 1.5, 1.0) == update(second, 1.5, 1.0)


def test_target_from_a_frontier_file(tmp_path: Path) -> None:
    path = tmp_path / "frontier.json"
    path.write_text(json.dumps({**DEV, "knee": {"x": 1.5, "y": 3.0}}))
    target = load_target(str(path))
    assert (target.ratio, target.initial_omega, target.source) == (2.0, pytest.approx(2 / 3), str(path))
    assert load_target(None) == Target(1.0, 1.0, "prior")


FRONTIER = {
    **DEV,
    "knee": {"x": 1.0, "y": 2.0},
    "points": [{"x": 1.0, "y": 2.0, "non_dominated": True}, {"x": 2.0, "y": 3.0, "non_dominated": False}],
    "groups": [
        {"where": {"model": "bert-tiny", "frac": 0.3}, "knee": {"x": 2.0, "y": 3.0}, "points": []},
        {"where": {"model": "bert-mini", "frac": 0.3}, "knee": {"x": 1.0, "y": 4.0}, "points": []},
    ],
}


def frontier_file(folder: Path, **changes: object) -> str:
    path = folder / "frontier.json"
    path.write_text(json.dumps({**FRONTIER, **changes}))
    return str(path)


def test_the_target_is_the_frontier_of_the_runs_own_model_and_fraction(tmp_path: Path) -> None:
    path = frontier_file(tmp_path)
    own = load_target(path, "ood", {"model": "bert-mini", "frac": 0.1 + 0.2})
    assert (own.ratio, own.group) == (4.0, "model=bert-mini, frac=0.3")
    other = load_target(path, "ood", {"model": "bert-base", "frac": 0.3})
    assert (other.ratio, other.group, other.front) == (2.0, "all", ((1.0, 2.0),))


@pytest.mark.parametrize(
    ("changes", "robust", "message"),
    [
        ({"x": "dev/eff/ndcg@10"}, "ood", r"drawn in dev/eff/ndcg@10; .* contrastive entropies"),
        ({"x": "eff/contrastive_entropy"}, "ood", r"never by test metrics; .*frontier --dev"),
        ({"y": "ood/contrastive_entropy"}, "both", r"never by test metrics; .*frontier --dev"),
        ({}, "adversarial", r"cannot steer strategy\.robust=adversarial"),
    ],
)
def test_a_frontier_of_other_metrics_is_refused(
    tmp_path: Path, changes: dict[str, str], robust: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_target(frontier_file(tmp_path, **changes), robust)
    assert load_target(frontier_file(tmp_path), "both").ratio == 2


def test_recalibration_turns_the_distance_into_contrastive_entropies() -> None:
    control = controller(Target(2.0, 4.0, "test"), decay=0.5)
    update(control, 1.0, 1.0)
    control.recalibrate(10, torch.tensor(3.0), torch.tensor(5.0))
    # Ē = 1 stands for 3 and R̄ = 1 for 5: halfway to losses of 2 and 3 they stand for 4.5 and 10.
    update(control, 2.0, 3.0)
    assert float(control.distance) == pytest.approx(10 / 4 - 4.5 / 2)
    assert control.history.tolist() == [[10.0, 1.0, 1.0, 3.0, 5.0]]
    assert control.logged()["val/rob_contrastive_entropy"] == 5.0
    assert control.proxy() == {}


def test_the_correlation_of_the_ratios_is_reported_from_three_recalibrations_on() -> None:
    control = controller(decay=0.0)
    for step, (loss, measured) in enumerate([(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]):
        update(control, 1.0, loss)
        control.recalibrate(step, torch.tensor(1.0), torch.tensor(measured))
    assert control.proxy()["omega/proxy_correlation"] == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["{", "{}", '{"knee": {"x": 0, "y": 1}}', '{"knee": null}', None])
def test_a_bad_frontier_file_is_one_clear_line(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "frontier.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"strategy\.frontier=.*frontier\.json") as caught:
        load_target(str(path))
    assert "\n" not in str(caught.value)


def test_by_steps_each_average_moves_at_the_steps_that_measure_it() -> None:
    control = controller(decay=0.5)
    start = float(control.omega)
    control.update(torch.tensor(2.0), None)
    # Nothing is known of the other loss yet.
    assert (float(control.omega), float(control.distance)) == (start, 0.0)
    control.update(None, torch.tensor(3.0))
    assert (float(control.mean_eff), float(control.mean_rob)) == (2.0, 3.0)
    assert float(control.distance) == pytest.approx(1.0)
    control.update(torch.tensor(1.0), None)
    assert (float(control.mean_eff), float(control.mean_rob)) == (1.5, 3.0)


@pytest.mark.parametrize("schedule", ["constant", "cool-down", "warm-up", "switch"])
@pytest.mark.parametrize("mean", [0.0, 0.2, 0.5, 0.7, 1.0])
def test_every_schedule_has_the_mean_that_it_is_given(schedule: str, mean: float) -> None:
    control = controller(rule="schedule", omega=mean, schedule=schedule)
    seen = []
    for _ in range(100):
        seen.append(float(control.omega))
        control.update(torch.tensor(1.0), None)
    assert sum(seen) / len(seen) == pytest.approx(mean, abs=1e-6)
    assert all(0 <= value <= 1 for value in seen)
    falls = [after - before for before, after in itertools.pairwise(seen)]
    if schedule == "cool-down":
        assert max(falls) <= 1e-6
    if schedule == "warm-up":
        assert min(falls) >= -1e-6


def test_dev_climbs_towards_the_stretch_that_gained_more() -> None:
    def after(area: Callable[[float], float], stretches: int = 40) -> float:
        control = controller(rule="dev")
        level = 3.0
        for step in range(stretches):
            level -= area(float(control.omega))
            control.measure(step, math.exp(level / 2), math.exp(level / 2))
        centre = control.rule.state_dict()["centre"]
        return 1 / (1 + math.exp(-centre))

    assert after(lambda omega: 0.01 * omega) > 0.9
    assert after(lambda omega: 0.01 * (1 - omega)) < 0.1
    assert after(lambda omega: 0.01 - (omega - 0.3) ** 2) == pytest.approx(0.3, abs=0.12)


@pytest.mark.parametrize("rule", ["dev", "dro", "schedule"])
def test_a_rules_state_continues_where_it_was_taken(rule: str) -> None:
    def advance(control: OmegaController, steps: range) -> list[float]:
        seen = []
        for step in steps:
            control.update(torch.tensor(2.0 / (1 + step)), torch.tensor(3.0 / (1 + step)))
            if step % 3 == 0:
                control.measure(step, 2.0 + math.sin(step), 3.0 + math.cos(step))
            seen.append(float(control.omega))
        return seen

    whole, first, second = (controller(rule=rule, omega=0.4) for _ in range(3))
    expected = advance(whole, range(20))
    advance(first, range(8))
    second.load_state_dict(first.state_dict())
    assert advance(second, range(8, 20)) == expected[8:]


@pytest.mark.parametrize(("pairs", "omega"), [(64_000, 0.0), (6_400, 0.0), (3_200, 0.25), (64, 0.495)])
def test_repeats_gives_away_half_of_what_would_be_repeated(pairs: int, omega: float) -> None:
    facts = Facts(Target(1.0, 1.0, "prior"), {"steps": 100, "batch_size": 64, "train_pairs": pairs})
    control = OmegaController(StrategyConfig(name="pareto", rule="repeats"), facts)
    assert float(control.omega) == pytest.approx(omega)
    control.update(torch.tensor(1.0), torch.tensor(5.0))
    assert float(control.omega) == pytest.approx(omega)
    assert control.rule.result() == {"omega/passes": pytest.approx(6_400 / pairs)}


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({}, "repeats"),
        ({"omega": 0.3}, "fixed"),
        ({"frontier": "f.json", "omega": 0.3}, "dro"),
        ({"mixture": "m.json"}, "law"),
        ({"rule": "dev", "omega": 0.3}, "dev"),
        ({"robust": "both"}, "dro"),
    ],
)
def test_auto_is_the_rule_that_reads_what_is_given(given: dict[str, object], rule: str) -> None:
    config = StrategyConfig(name="pareto", **given)  # type: ignore[arg-type]
    assert chosen_rule(config, ()) == chosen_rule(config, ("eff",)) == rule
    assert chosen_rule(config, ("rob",)) == {"repeats": "guarded"}.get(rule, rule)
    assert chosen_rule(config, ("eff", "rob")) == {"repeats": "proxy"}.get(rule, rule)
    config.mixing = "loss"
    assert chosen_rule(config, ("eff", "rob")) == {"repeats": "guarded"}.get(rule, rule)


def test_the_default_rules_are_registered() -> None:
    assert set(DEFAULT_RULES) <= set(RULES)


def guarded(helps: float, stretches: int = 24) -> OmegaController:
    """After stretches in which robust steps lower R_dev by ``helps`` more, under a trend and noise."""
    facts = Facts(Target(1.0, 1.0, "prior"), {"steps": 1000, "batch_size": 64, "train_pairs": 640})
    control = OmegaController(StrategyConfig(name="pareto", rule="guarded"), facts)
    random = np.random.default_rng(1)
    level = math.log(4.0)
    for stretch in range(stretches):
        level -= 0.1 * 0.9**stretch + helps * float(control.omega) + 0.01 * random.standard_normal()
        control.measure(stretch, math.nan, math.exp(level))
    return control


def test_guarded_keeps_omega_where_robust_steps_help_and_withdraws_it_where_they_harm() -> None:
    helped, harmed = guarded(0.05), guarded(-0.05)
    assert helped.rule.result()["omega/help"] > 0.5
    assert helped.rule.findings() == []
    # Twice the ω of `repeats` or none, so that the mean is its own.
    assert set(np.round(helped.measured[1:, 1].tolist(), 4)) <= {0.0, 0.99}
    assert float(helped.measured[4:, 1].mean()) == pytest.approx(0.495, abs=0.06)
    assert harmed.rule.result()["omega/help"] < 0.01
    assert float(harmed.measured[-4:, 1].max()) == 0.0
    [(code, message)] = harmed.rule.findings()
    assert code == "ROBUST_DATA_NO_HELP"
    assert "\n" not in message


def test_the_probability_of_help_is_that_of_a_t_test() -> None:
    gains = np.array([0.03, -0.05, -0.02, -0.06])
    omegas = np.full(4, 0.8)
    expected = stats.ttest_1samp(gains, 0, alternative="less").pvalue
    assert probability(omegas, gains) == pytest.approx(expected)
    assert probability(omegas, -gains) == pytest.approx(1 - expected)
    assert probability(omegas[:2], gains[:2]) == 1.0
