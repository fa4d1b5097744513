from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.config import StrategyConfig
from retrieval.errors import ConfigError
from retrieval.training.omega import OmegaController, Target, load_target


def controller(target: Target | None = None, **changes: object) -> OmegaController:
    return OmegaController(StrategyConfig(name="pareto", **changes), target or Target(1.0, 1.0, "prior"))  # type: ignore[arg-type]


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
    path.write_text(json.dumps({"knee": {"x": 1.5, "y": 3.0}}))
    target = load_target(str(path))
    assert (target.ratio, target.initial_omega, target.source) == (2.0, pytest.approx(2 / 3), str(path))
    assert load_target(None) == Target(1.0, 1.0, "prior")


FRONTIER = {
    "x": "eff/contrastive_entropy",
    "y": "ood/contrastive_entropy",
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
        ({"x": "eff/ndcg@10"}, "ood", r"drawn in eff/ndcg@10; .* contrastive entropies"),
        ({}, "adversarial", r"strategy\.robust=adversarial .*--y adv/contrastive_entropy"),
        ({"y": "adv/contrastive_entropy"}, "ood", r"--y ood/contrastive_entropy"),
    ],
)
def test_a_frontier_of_other_metrics_is_refused(
    tmp_path: Path, changes: dict[str, str], robust: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_target(frontier_file(tmp_path, **changes), robust)
    assert (
        load_target(frontier_file(tmp_path, **changes | {"x": "eff/contrastive_entropy"}), "both").ratio == 2
    )


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
