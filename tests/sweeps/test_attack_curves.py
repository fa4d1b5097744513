"""Curves of attacks by strategy: means, intervals and areas by hand, and the section of the report."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sweeps.fitting.configurations import label_runs
from sweeps.report.attacks import attacks_section
from sweeps.robustness.attack_curves import attack_curves

RATES = {"standard": ([0.0, 0.4, 0.8], [0.0, 0.6, 0.8]), "adversarial": ([0.0, 0.2, 0.4], [0.0, 0.2, 0.2])}


def runs(attack: str, *, frac: float = 0.5) -> pd.DataFrame:
    prefix = "adv/curve" if attack == "wsra" else f"adv/{attack}/curve"
    rows = [
        {
            "run": f"{strategy}{seed}",
            **{"strategy": strategy, "seed": seed, "model": "bert-tiny", "data": "pydocs", "frac": frac},
            **{f"{prefix}/top10_rate@{m}": rate for m, rate in enumerate(rates)},
            f"{prefix}/success_rate@0": 0.0,
            f"adv/{attack}/random/top10_rate": 0.1,
            f"bm25/adv/{attack}/top10_rate": 0.3,
        }
        for strategy, seeds in RATES.items()
        for seed, rates in enumerate(seeds)
    ]
    return label_runs(pd.DataFrame(rows))


@pytest.mark.parametrize("attack", ["wsra", "poison"])
def test_means_intervals_and_areas_by_hand(attack: str) -> None:
    standard, adversarial = attack_curves(runs(attack))
    assert (standard.attack, standard.label, adversarial.label) == (attack, "standard", "adversarial")
    assert standard.rates == pytest.approx([0.0, 0.5, 0.8])
    # The standard error of two values is half of their distance.
    assert standard.half == pytest.approx([0.0, 0.1 * stats.t.ppf(0.975, 1), 0.0])
    assert standard.area == pytest.approx((0.25 + 0.65) / 2)
    assert adversarial.area == pytest.approx((0.1 + 0.25) / 2)
    assert (standard.random, standard.bm25, standard.runs) == (0.1, 0.3, 2)


def test_only_one_cell_is_shown_and_replays_have_no_curve() -> None:
    whole = runs("typo")
    other = runs("typo", frac=0.1)
    other = other[other["strategy"] == "standard"]
    replay = whole.head(1).assign(**{"adv/typo/curve/top10_rate@1": np.nan})
    curves = attack_curves(label_runs(pd.concat([other, whole, replay], ignore_index=True)))
    assert [(one.where, one.runs) for one in curves] == [("pydocs · dual-encoder · bert-tiny · 0.5", 2)] * 2


def test_the_section_has_a_row_a_curve_and_one_seed_no_interval() -> None:
    table = runs("wsra").merge(runs("poison"))
    section = attacks_section(table[table["seed"] == 0])
    assert section is not None
    assert [panel.name for panel in section.panels] == ["attack-curve-poison", "attack-curve-wsra"]
    assert [row[:4] for row in section.tables[0].rows] == [
        ["poison", "standard", "1", "0.400"],
        ["poison", "adversarial", "1", "0.200"],
        ["wsra", "standard", "1", "0.400"],
        ["wsra", "adversarial", "1", "0.200"],
    ]
    assert attacks_section(table[["run", "label", "strategy", "seed"]]) is None
