from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
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
def test_losses_on_the_ray_are_a_fixed_point(eff: float, rob: float, scale: float) -> None:
    control = controller(Target(eff, rob, "test"))
    start = float(control.omega)
    for _ in range(5):
        assert update(control, scale * eff, scale * rob) == pytest.approx(start, abs=1e-4)


@given(st.floats(0.1, 5), st.floats(0.1, 5))
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
    second.load_state_dict(first.state_dict())
    assert update(first, 1.5, 1.0) == update(second, 1.5, 1.0)


def test_target_from_a_frontier_file(tmp_path: Path) -> None:
    path = tmp_path / "frontier.json"
    path.write_text(json.dumps({"knee": {"x": 1.5, "y": 3.0}}))
    target = load_target(str(path))
    assert (target.ratio, target.initial_omega, target.source) == (2.0, pytest.approx(2 / 3), str(path))
    assert load_target(None) == Target(1.0, 1.0, "prior")


@pytest.mark.parametrize("text", ["{", "{}", '{"knee": {"x": 0, "y": 1}}', '{"knee": null}', None])
def test_a_bad_frontier_file_is_one_clear_line(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "frontier.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"strategy\.frontier=.*frontier\.json") as caught:
        load_target(str(path))
    assert "\n" not in str(caught.value)
