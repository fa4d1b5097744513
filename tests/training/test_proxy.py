"""The rule ``proxy``: what it concludes from proxies, and what a proxy computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from retrieval.config import StrategyConfig
from retrieval.config.validation import validate
from retrieval.data.layout import group_tokens
from retrieval.errors import ConfigError
from retrieval.training.omega.controller import OmegaController
from retrieval.training.omega.rule import Facts
from retrieval.training.omega.rules.proxy import OMEGAS, REPEATS, along, choose, error
from retrieval.training.omega.target import Target
from retrieval.training.proxy import BagOfWords
from tests.end_to_end.conftest import composed


def planted(best: float, depth: float, spread: float = 0.0, seed: int = 1) -> np.ndarray:
    """Changes by a parabola in √ω with its minimum −``depth`` at ``best``, and noise: ``[repeat, ω]``."""
    roots = np.sqrt(OMEGAS)
    values = depth * ((roots / math.sqrt(best) - 1) ** 2 - 1)
    return values + spread * np.random.default_rng(seed).standard_normal((REPEATS, len(OMEGAS)))


@given(st.floats(0.02, 0.85), st.floats(0.01, 2.0))
def test_a_planted_optimum_is_found(best: float, depth: float) -> None:
    # Without noise it is the minimum, within one step of the ω that are compared.
    assert choose(planted(best, depth)) == pytest.approx(best, abs=0.01)


def test_doubt_lowers_omega_and_no_gain_makes_it_0() -> None:
    assert 0.1 < choose(planted(0.5, 0.3, spread=0.05)) < 0.5
    assert choose(-planted(0.5, 0.3)) in (0.0, 0.9)  # harm first; a parabola may promise gain at its far end
    assert choose(np.tile([0.1, 0.2, 0.4], (REPEATS, 1))) == 0.0
    assert choose(np.array([[0.3, 0.3, 0.2], [-0.3, -0.1, -0.2], [0.1, -0.2, 0.1]])) == 0.0


def test_the_gain_at_a_tried_omega_is_the_mean_where_the_parabola_is_exact() -> None:
    values = along(planted(0.4, 0.2), np.array(OMEGAS[1:2]))[:, 0]
    assert float(values.mean()) == pytest.approx(planted(0.4, 0.2)[0, 1])
    assert float(error(values)) == pytest.approx(0.0, abs=1e-12)


def controller(eff: float, rob: float) -> OmegaController:
    """After proxies whose losses change by these slopes in √ω, with a curve for the in-domain loss."""
    facts = Facts(Target(1.0, 1.0, "prior"), {"steps": 100, "batch_size": 8, "train_pairs": 100})
    control = OmegaController(StrategyConfig(name="pareto", rule="proxy"), facts)
    noise = np.random.default_rng(0)

    def trial(omega: float, repeat: int) -> tuple[float, float]:
        return (
            2 + eff * math.sqrt(omega) + omega + 0.001 * noise.standard_normal(),
            3 + rob * math.sqrt(omega) + 0.001 * noise.standard_normal(),
        )

    control.use_proxies(trial)
    return control


def test_the_first_step_has_the_chosen_omega_and_keeps_it() -> None:
    control = controller(-0.5, -0.5)
    assert float(control.omega) == pytest.approx(0.25, abs=0.03)
    before = float(control.omega)
    control.update(torch.tensor(5.0), torch.tensor(1.0))
    assert float(control.omega) == before
    assert control.rule.result()["omega/proxy_rob"] == pytest.approx(-0.25, abs=0.03)
    assert control.rule.findings() == []
    again = controller(0.1, 0.1)
    again.load_state_dict(control.state_dict())
    assert float(again.omega) == before
    assert again.rule.result() == control.rule.result()


@pytest.mark.parametrize(("key", "value"), [("robust", "both"), ("mixing", "loss")])
def test_what_proxies_cannot_see_is_refused(key: str, value: str) -> None:
    config = composed("strategy=pareto", "strategy.rule=proxy", f"strategy.{key}={value}")
    with pytest.raises(ConfigError, match=rf"strategy.{key}=\w+, not with {value}"):
        validate(config)


def test_data_that_do_not_help_are_named() -> None:
    harmed = controller(0.2, 0.2)
    assert float(harmed.omega) == 0.0
    [(code, message)] = harmed.rule.findings()
    assert code == "ROBUST_DATA_NO_HELP"
    assert "\n" not in message
    # Where robust steps help robustness and cost more effectiveness than that, the data are not to blame.
    costly = controller(0.5, -0.2)
    assert float(costly.omega) == 0.0
    assert costly.rule.findings() == []


def test_a_proxy_is_a_weighted_bag_of_words_whatever_the_order_of_the_texts() -> None:
    ids, lengths = np.array([3, 1, 4, 1, 5, 2, 6]), np.array([4, 1, 2])
    proxy = BagOfWords(8, seed=1)
    with torch.no_grad():
        proxy.weights.copy_(torch.linspace(-1, 1, 8))
        found = proxy(group_tokens(ids, lengths))
        for row, text in zip(found, np.split(ids, np.cumsum(lengths)[:-1]), strict=True):
            tokens = torch.from_numpy(text)
            total = (proxy.weights[tokens].exp()[:, None] * F.normalize(proxy.vectors[tokens], dim=-1)).sum(0)
            # Sums of a few fp32 numbers, normalised: a few units of rounding.
            torch.testing.assert_close(row, total / total.norm(), rtol=0, atol=1e-6)
