"""Laws: published values, limits, Jacobian, coordinates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.published import PUBLISHED
from retrieval.errors import ConfigError
from sweeps.fitting.laws import LAWS, Centre, Floats, Law, chance_level, get_law

CHANCE = chance_level(256)
every_law = st.sampled_from(list(LAWS.values()))


def random_centred(law: Law, seed: int) -> Floats:
    generator = np.random.default_rng(seed)
    theta = generator.normal(0, 0.5, law.size)
    for place in law.places("floor"):
        theta[place] = generator.uniform(0.01, 2.0)
    for place in law.places("shift"):
        theta[place] = generator.uniform(0.1, 2.0)
    return theta


def test_joint_law_by_hand() -> None:
    params = PUBLISHED["fang2024-msmarco-joint"][1]
    a, b, alpha, beta, delta = (params[name] for name in ("A", "B", "alpha", "beta", "delta"))
    expected = ((a / 86e6) ** (alpha / beta) + b / 5e5) ** beta + delta
    assert get_law("joint").predict(params, 86e6, 5e5) == pytest.approx(expected, rel=1e-13)
    # The value computed from the rounded coefficients of the paper's second version.
    assert expected == pytest.approx(0.050, abs=5e-4)


def test_additive_law_by_hand() -> None:
    params = PUBLISHED["hoffmann2022"][1]
    expected = 406.4 / 70e9**0.34 + 410.7 / 1.4e12**0.28 + 1.69
    assert get_law("additive").predict(params, 70e9, 1.4e12) == pytest.approx(expected, rel=1e-13)


def test_chance_level_of_256_negatives() -> None:
    assert chance_level(256) == pytest.approx(math.log(257))


def test_joint_tends_to_the_single_laws() -> None:
    joint = PUBLISHED["fang2024-msmarco-joint"][1]
    model = {name: joint[name] for name in ("A", "alpha", "delta")}
    data = {name: joint[name] for name in ("B", "beta", "delta")}
    law = get_law("joint")
    assert law.predict(joint, 1e6, 1e30) == pytest.approx(get_law("model").predict(model, 1e6, 1.0), rel=1e-9)
    assert law.predict(joint, 1e60, 1e4) == pytest.approx(get_law("data").predict(data, 1.0, 1e4), rel=1e-9)


def test_bounded_form_stays_below_chance_and_meets_the_plain_form_far_below_it() -> None:
    params = PUBLISHED["fang2024-msmarco-joint"][1]
    bounded, plain = get_law("joint-bounded"), get_law("joint")
    assert plain.predict(params, 10.0, 10.0) > CHANCE
    assert bounded.predict(params, 10.0, 10.0, CHANCE) < CHANCE
    low = {**params, "delta": 0.0}
    near = plain.predict(low, 1e12, 1e12)
    assert bounded.predict(low, 1e12, 1e12, CHANCE) == pytest.approx(near, rel=1e-4)


def test_shifted_form_without_shift_is_the_data_law() -> None:
    params = {"B": 6e4, "beta": 0.5, "delta": 0.15}
    shifted = get_law("data-shifted").predict({**params, "D0": 0.0}, 1.0, [1e3, 1e5])
    assert shifted == pytest.approx(get_law("data").predict(params, 1.0, [1e3, 1e5]), rel=1e-14)


@given(law=every_law, seed=st.integers(0, 1000))
def test_jacobian_is_the_derivative(law: Law, seed: int) -> None:
    generator = np.random.default_rng(seed)
    theta = random_centred(law, seed)
    u, v = generator.normal(size=(2, 6))
    values, jacobian = law.evaluate(theta[None], u, v, CHANCE)
    for index in range(law.size):
        step = np.zeros(law.size)
        step[index] = 1e-6
        above, _ = law.evaluate((theta + step)[None], u, v, CHANCE)
        below, _ = law.evaluate((theta - step)[None], u, v, CHANCE)
        numeric = (above - below) / 2e-6
        # Rounding of the values, divided by the step, is what the quotient cannot resolve.
        resolution = 1e-9 * np.abs(values).max() + 1e-9
        assert jacobian[:, :, index] == pytest.approx(numeric, rel=1e-5, abs=resolution)


@given(law=every_law, seed=st.integers(0, 1000), log_n=st.floats(-5, 25), log_d=st.floats(-5, 25))
def test_centred_coordinates_round_trip(law: Law, seed: int, log_n: float, log_d: float) -> None:
    centre = Centre(log_n, log_d)
    theta = random_centred(law, seed)
    assert law.to_centred(law.to_published(theta, centre), centre) == pytest.approx(theta, rel=1e-8, abs=1e-8)
    published = law.to_published(theta, centre)
    assert law.from_logs(law.to_logs(published)) == pytest.approx(published, rel=1e-12)


@given(law=every_law, seed=st.integers(0, 1000))
def test_chain_is_the_derivative_of_the_coordinates(law: Law, seed: int) -> None:
    centre = Centre(1.5, -0.7)
    theta = random_centred(law, seed)
    logs = law.to_logs(law.to_published(theta, centre))
    slopes = law.chain(theta, centre)
    for index in range(law.size):
        step = np.zeros(law.size)
        step[index] = 1e-6
        ends = [law.to_centred(law.from_logs(logs + sign * step), centre) for sign in (1, -1)]
        assert slopes[:, index] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-6)


def test_predict_broadcasts_parameters_and_points() -> None:
    law = get_law("joint")
    vector = law.vector(PUBLISHED["fang2024-msmarco-joint"][1])
    many = law.predict(np.stack([vector, vector, vector]), np.full((4, 2), 1e6), 1e4)
    assert many.shape == (3, 4, 2)
    assert np.ptp(many) == 0
    assert law.predict(vector, 1e6, 1e4).shape == ()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="law=kaplan does not exist; choose one of model"):
        get_law("kaplan")
    with pytest.raises(ConfigError, match="has parameters A, alpha, delta; got A, alpha"):
        get_law("model").vector({"A": 1.0, "alpha": 0.5})
    with pytest.raises(ConfigError, match="needs the chance level"):
        get_law("model-bounded").predict({"A": 1.0, "alpha": 0.5, "delta": 0.1}, 1.0, 1.0)
