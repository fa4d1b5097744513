"""Efficiency multipliers: exact cases, unbounded ones, inverses of every form, pairing, refusals."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ConfigError
from retrieval.run.files import plain
from sweeps.cli import main
from sweeps.diagnostics import FitRefusedError, TableError
from sweeps.efficiency import EfficiencyOptions
from sweeps.efficiency import efficiency as compute
from sweeps.efficiency.multipliers import required
from sweeps.efficiency.multipliers import summary as summarise
from sweeps.fitting.laws import LAWS, chance_level
from sweeps.fitting.result import FitOptions

N, D = "size/params_non_embedding", "size/train_pairs"
EFF, OOD = "eff/contrastive_entropy", "ood/contrastive_entropy"
LEVELS = (1000, 2000, 4000, 8000, 16000, 32000)
PARAMS = {"A": 3.0e4, "alpha": 0.5, "B": 5e3, "beta": 0.8, "D0": 300.0, "delta": 0.2}
QUICK = EfficiencyOptions(fit=FitOptions(bootstrap=60))


def efficiency(*given: Any, **options: Any) -> dict[str, Any]:
    """The record as it is written."""
    return compute(*given, **options).to_json()


def data_law(b: float, delta: float = 0.3) -> object:
    return lambda n, d: (b / d) ** 0.6 + delta


def runs(
    laws: dict[str, tuple[object, object]], sizes: tuple[float, ...] = (1e6,), seeds: int = 1
) -> pd.DataFrame:
    """Noise-free (one seed) or 1 % noisy runs of strategies whose eff and ood follow the given laws."""
    generator = np.random.default_rng(5)
    rows = []
    for strategy, (eff, ood) in laws.items():
        for n in sizes:
            for d in LEVELS:
                for seed in range(seeds):
                    wobble = np.exp(0.01 * (seeds > 1) * generator.standard_normal(2))
                    row = {
                        "strategy": strategy,
                        "model": f"m{n:g}",
                        "frac": d / 32e3,
                        "seed": seed,
                        N: n,
                        D: d,
                    }
                    row |= {EFF: eff(n, d) * wobble[0], OOD: ood(n, d) * wobble[1]}  # type: ignore[operator]
                    rows.append(row | {"run": f"{strategy}{n:g}{d:g}{seed}", "cost/train_flops": 6 * n})
    return pd.DataFrame(rows)


def test_equal_laws_with_b_ratio_two_and_a_half_give_two_and_a_half_everywhere() -> None:
    base, better = data_law(6e3), data_law(6e3 / 2.5)
    record = efficiency(runs({"standard": (base, base), "pareto": (better, better)}), options=QUICK)
    (curve,) = record["curves"]
    assert curve["resource"] == "D"
    for name in (EFF, OOD, "both", "each"):
        assert curve["by"][name]["multiplier"] == pytest.approx([2.5] * len(curve["scale"]), rel=1e-6)


@given(
    b=st.floats(10, 1e6),
    beta=st.floats(0.05, 3),
    delta=st.floats(0, 5),
    ratio=st.floats(0.01, 100),
    d=st.floats(1, 1e9),
)
def test_inverse_of_the_data_law_gives_the_ratio_of_b(
    b: float, beta: float, delta: float, ratio: float, d: float
) -> None:
    law = LAWS["data"]
    excess = (b / ratio / d) ** beta
    if excess < 1e-3 or excess > 1e6:  # cancellation against the floor, not the formula, decides there
        return
    target = law.predict([b / ratio, beta, delta], 1.0, d)
    assert required(law, [b, beta, delta], target, "D") / d == pytest.approx(ratio, rel=1e-6)


def test_ratio_is_exact_where_arithmetic_is() -> None:
    d = np.geomspace(100, 1e7, 40)
    target = LAWS["data"].predict([400.0, 0.5, 0.3], 1.0, d)
    assert required(LAWS["data"], [1000.0, 0.5, 0.3], target, "D") / d == pytest.approx(2.5, rel=1e-9)


@pytest.mark.parametrize("name", LAWS)
def test_required_inverts_predict(name: str) -> None:
    law, chance = LAWS[name], chance_level(256)
    theta = law.vector({key: PARAMS[key] for key in law.parameters})
    axes: list[Literal["N", "D"]] = [axis for axis in ("N", "D") if axis in law.axes]
    for axis in axes:
        amount = np.geomspace(1e4, 1e7, 7)
        n, d = (amount, 2e5) if axis == "N" else (3e6, amount)
        target = law.predict(theta, n, d, chance)
        other = 2e5 if axis == "N" else 3e6
        assert required(law, theta, target, axis, other, chance) == pytest.approx(amount, rel=1e-6)


@pytest.mark.parametrize("name", LAWS)
def test_below_the_floor_nothing_suffices(name: str) -> None:
    law, chance = LAWS[name], chance_level(256)
    theta = law.vector({key: PARAMS[key] for key in law.parameters})
    target = PARAMS["delta"] if law.places("floor") else 0.0
    for axis in law.axes:
        assert np.isinf(required(law, theta, [target, target - 0.1], axis, 1e6, chance)).all()  # type: ignore[arg-type]


def test_other_resource_can_be_what_limits() -> None:
    law = LAWS["joint"]
    theta = law.vector({key: PARAMS[key] for key in law.parameters})
    limit = float(law.predict(theta, 1e30, 1e4))
    assert np.isinf(required(law, theta, limit * 0.99, "N", 1e4))
    assert np.isfinite(required(law, theta, limit * 1.01, "N", 1e4))


def test_at_chance_any_amount_suffices() -> None:
    law = LAWS["data-bounded"]
    assert required(law, [5e3, 0.8, 0.2], 5.6, "D", chance=chance_level(256)) == 0.0


def test_target_below_the_floor_is_unbounded() -> None:
    table = runs(
        {"standard": (data_law(6e3, 0.5), data_law(6e3, 0.5)), "pareto": (data_law(6e3, 0.1), data_law(6e3))}
    )
    record = efficiency(table, options=QUICK)
    (curve,) = record["curves"]
    assert curve["by"][EFF]["multiplier"][-1] == "unbounded"
    assert curve["by"]["both"]["multiplier"][-1] == "unbounded"
    assert record["headline"]["D"][EFF]["multiplier"] == "unbounded"
    assert "TARGET_BELOW_FLOOR" in [warning["code"] for warning in record["warnings"]]
    assert "NaN" not in json.dumps(plain(record), allow_nan=False)


def test_joint_is_the_larger_and_noise_leaves_the_truth_inside() -> None:
    laws = {"standard": (data_law(6e3), data_law(9e3)), "pareto": (data_law(5e3), data_law(3e3))}
    record = efficiency(runs(laws, seeds=3), options=EfficiencyOptions(fit=FitOptions(bootstrap=200)))
    head = record["headline"]["D"]
    assert head[EFF]["low"] < 1.2 < head[EFF]["high"]
    assert head[OOD]["low"] < 3.0 < head[OOD]["high"]
    assert head["both"]["multiplier"] == max(head[EFF]["multiplier"], head[OOD]["multiplier"])


def test_joint_law_gives_curves_for_every_slice_of_both_resources() -> None:
    def law(scale: float) -> object:
        return lambda n, d: ((3e4 / n) ** 0.6 + 5e3 / (d * scale)) ** 0.5 + 0.2

    table = runs({"standard": (law(1), law(1)), "pareto": (law(2), law(4))}, sizes=(1e6, 4e6, 16e6))
    options = EfficiencyOptions(resources=("N", "D"), fit=FitOptions(bootstrap=0))
    record = efficiency(table, options=options)
    assert record["law"] == "joint"
    assert [curve["resource"] for curve in record["curves"]].count("D") == 3
    assert record["headline"]["D"]["at"]["name"] == "m1.6e+07"
    assert record["headline"]["D"][EFF]["multiplier"] == pytest.approx(2.0, rel=1e-4)
    assert record["headline"]["D"]["both"]["multiplier"] == pytest.approx(4.0, rel=1e-4)
    assert record["headline"]["D"][EFF]["low"] is None


def test_same_seed_same_record() -> None:
    laws = {"standard": (data_law(6e3), data_law(9e3)), "pareto": (data_law(5e3), data_law(3e3))}
    table = runs(laws, seeds=2)
    assert efficiency(table, options=QUICK) == efficiency(table.sample(frac=1, random_state=1), options=QUICK)


def test_refusals_are_one_line() -> None:
    table = runs({"standard": (data_law(6e3), data_law(6e3)), "pareto": (data_law(5e3), data_law(5e3))})
    with pytest.raises(ConfigError, match="--strategy dro: no such runs; the table has pareto, standard"):
        efficiency(table, strategy="dro")
    with pytest.raises(TableError, match="adv/contrastive_entropy' is not in the table"):
        efficiency(table, options=EfficiencyOptions(metrics=("adv/contrastive_entropy",)))
    with pytest.raises(FitRefusedError, match=r"NO_MULTIPLIER: .*fewer than 3 values"):
        efficiency(table[table[D] < 3e3], options=QUICK)


def test_command_writes_json_and_says_it_in_words(
    tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    table = runs({"standard": (data_law(6e3), data_law(6e3)), "pareto": (data_law(2400.0), data_law(2400.0))})
    source, out = f"{tmp_path}/runs.csv", f"{tmp_path}/efficiency.json"
    table.to_csv(source, index=False)
    assert main(["efficiency", "--table", source, "--out", out, "--bootstrap", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split("   ")[-2:] == ["to match both", "in each"]
    assert [line.split() for line in lines[3:9]] == [[f"{d:,}", *["2.5×"] * 4] for d in LEVELS]
    assert main(["efficiency", "--table", source, "--strategy", "other", "--out", out]) == 2
    assert "error: --strategy other" in capsys.readouterr().err


def test_interval_holds_the_estimate_and_lives_without_overflowing_draws() -> None:
    draws = np.linspace(2.0, 3.0, 100)[:, None].repeat(2, axis=1)
    draws[:5] = np.nan
    summary = summarise(np.array([2.5, 1.0]), draws, 0.9).to_json()
    assert summary["low"] == pytest.approx([2.0 + 10 / 99, 1.0], abs=0.02)
    assert summary["high"] == pytest.approx([3.0 - 5 / 99, 3.0 - 5 / 99], abs=0.02)
    draws[:20] = np.nan
    assert summarise(np.array([2.5, 1.0]), draws, 0.9).low is None


def test_too_few_configurations_give_no_interval() -> None:
    laws = {"standard": (data_law(6e3), data_law(6e3)), "pareto": (data_law(5e3), data_law(5e3))}
    table = runs(laws)
    record = efficiency(table[table[D] < 9e3], options=QUICK)
    assert record["headline"]["D"]["both"]["low"] is None
    assert "BOOTSTRAP_UNSTABLE" in [warning["code"] for warning in record["warnings"]]


@pytest.mark.parametrize(
    ("ratio", "words"), [(10.0, "× the largest it was run with"), (1e-4, "× the least it was")]
)
def test_multipliers_far_outside_the_baselines_range_are_flagged(ratio: float, words: str) -> None:
    base, other = data_law(6e3), data_law(6e3 / ratio)
    record = efficiency(runs({"standard": (base, base), "pareto": (other, other)}), options=QUICK)
    found = [item["message"] for item in record["warnings"] if item["code"] == "EXTRAPOLATION_FACTOR"]
    assert found
    assert all(words in message for message in found)
