"""A law that a test adds by subclassing is known to the fit, its intervals, its inverse and the commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from law_tables import COLUMNS, law_table

from retrieval.errors import ConfigError
from sweeps.cli import main
from sweeps.efficiency.multipliers import required
from sweeps.fitting.fit import fit_law
from sweeps.fitting.laws import LAWS, Floats, Parameter, Separable, get_law, law_help, register
from sweeps.fitting.result import FitOptions
from sweeps.fitting.sensitivity import sensitivities

PLANTED = {"h": 2.0, "K": 6e4, "delta": 0.3}
PAIRS = tuple(np.geomspace(5e3, 5e5, 9))
NAME = "data-exponential"


class Exponential(Separable):
    """``h·exp(−D/K) + δ``: no term of a power."""

    name = NAME
    axes = ("D",)
    kinds = (Parameter("h", "scale"), Parameter("K", "scale", "D"), Parameter("delta", "floor"))
    formula = "h·exp(−D/K) + δ"
    help = "a decay to the floor, of this test"

    def values(self, centred: Floats, u: Floats, v: Floats, chance: float | None = None) -> Floats:
        decay = np.exp(-np.exp(v[None, :] - centred[:, 1, None]))
        return np.exp(centred[:, 0, None]) * decay + centred[:, 2, None]

    def inverse(
        self, params: Floats, target: Floats, axis: str, other: Floats, chance: float | None = None
    ) -> Floats:
        share = (target - params[..., 2]) / params[..., 0]
        return np.where(share > 0, np.maximum(-params[..., 1] * np.log(share), 0.0), np.inf)

    def nonlinear(self, count: int) -> Floats:
        return np.linspace(-3, 3, count)[:, None]

    def columns(self, outer: Floats, u: Floats, v: Floats) -> list[Floats]:
        return [np.exp(-np.exp(v - outer[0])), np.ones_like(v)]

    def assemble(self, outer: Floats, linear: Floats, smallest: float) -> Floats:
        return np.array([np.log(max(linear[0], smallest)), outer[0], linear[1]])


@pytest.fixture(autouse=True)
def added() -> Iterator[None]:
    register(Exponential)
    yield
    del LAWS[NAME]


def table(seed_sd: float = 0.0):
    return law_table(NAME, PLANTED, sizes=(1e6,), pairs=PAIRS, seeds=3, seed_sd=seed_sd)


def test_fit_recovers_planted_parameters() -> None:
    options = FitOptions(bootstrap=0)
    result = fit_law(table(), law=NAME, metric="y", columns=COLUMNS, options=options, compare_forms=False)
    assert result.params == pytest.approx(PLANTED, rel=1e-5)


def test_profile_intervals_hold_the_planted_parameters_and_other_forms_are_compared() -> None:
    options = FitOptions(bootstrap=0, starts=50)
    result = fit_law(table(0.01), law=NAME, metric="y", columns=COLUMNS, options=options)
    for name, value in PLANTED.items():
        low, high = result.intervals[name]
        assert low is not None
        assert high is not None
        assert low < value < high
        assert high < 1.2 * low
    assert result.comparison["preferred"] == NAME
    assert {"data", NAME} <= set(result.aicc)
    low, high = result.mean_band(1e6, 1e5)
    assert low < get_law(NAME).predict(PLANTED, 1e6, 1e5) < high


def test_inverse_is_the_one_of_the_law() -> None:
    law, amount = get_law(NAME), np.array([1e3, 1e4, 1e5])
    theta = law.vector(PLANTED)
    assert required(law, theta, law.predict(theta, 1.0, amount), "D") == pytest.approx(amount, rel=1e-6)
    assert np.isinf(required(law, theta, 0.3, "D"))
    with pytest.raises(ConfigError, match=f"law {NAME} does not depend on N; use one of model"):
        required(law, theta, 1.0, "N")


def test_sensitivities_are_local_where_a_law_has_no_exponent() -> None:
    rows = table(0.01)
    rows["eff"], rows["ood"] = rows["y"], rows["y"] ** 1.5
    options = FitOptions(bootstrap=30, starts=50)
    found = sensitivities(rows, "eff", "ood", law=NAME, columns=COLUMNS, options=options)
    assert [item.kind for item in found.differences] == ["local"]


def test_the_command_fits_it_and_its_help_and_errors_name_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "runs.csv", tmp_path / "fit.json"
    table(0.01).to_csv(source, index=False)
    common = ["fit", "--table", str(source), "--n", "N", "--d", "D", "--y", "y", "--bootstrap", "0"]
    assert main([*common, "--law", NAME, "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    record = record.get("groups", {"all": record})
    assert [item["law"] for item in record.values()] == [NAME]
    capsys.readouterr()
    assert main([*common, "--law", "spline", "--out", str(out)]) == 2
    assert f"law=spline does not exist; choose one of {', '.join(LAWS)}" in capsys.readouterr().err
    assert main(["fit", "--help"]) == 0
    shown = capsys.readouterr().out
    assert NAME in "".join(character for character in shown if character not in "│ \n")
    assert NAME in law_help()


def test_efficiency_offers_a_new_law_in_both_axes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Both(Exponential):
        name = "both-exponential"
        axes = ("N", "D")

    monkeypatch.setitem(LAWS, Both.name, Both())
    assert main(["efficiency", "--help"]) == 0
    assert "both-exponential" in "".join(c for c in capsys.readouterr().out if c not in "│ \n")
    source = tmp_path / "runs.csv"
    table().to_csv(source, index=False)
    assert main(["efficiency", "--table", str(source), "--law", "spline"]) == 2
    assert "both-exponential" in capsys.readouterr().err
