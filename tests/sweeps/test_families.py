"""Model families: what is refused, planted exponents told apart or not, equal N, D and FLOPs, frontiers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from family_tables import ALL_PAIRS, EFF, FLOPS, OOD, PAIRS, SIZE, Family, table
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ConfigError, DataError
from sweeps.cli import main
from sweeps.comparison import compare
from sweeps.comparison.domains import domains
from sweeps.comparison.families import FamiliesOptions, families
from sweeps.comparison.families.equal import _line
from sweeps.comparison.families.record import Families, Gap, Shift, SlopeTest
from sweeps.comparison.families.tradeoff import slope_at_knee
from sweeps.diagnostics import FitRefusedError
from sweeps.efficiency import efficiency
from sweeps.fitting.fit import fit_law
from sweeps.fitting.groups import split
from sweeps.fitting.result import FitOptions
from sweeps.frontier.trace import FrontierOptions, frontier
from sweeps.mixture.fit import MixtureOptions, fit_mixture
from sweeps.report.build import ReportOptions, build_report
from sweeps.table.families import families_of
from sweeps.table.runs import Collected, keep_where

DUAL, MULTI = Family("dual-encoder"), Family("multi-vector")
QUICK = FitOptions(bootstrap=200)


def compared(runs: pd.DataFrame, **options: Any) -> Families:
    return families(runs, FamiliesOptions(fit=QUICK, **options))


def codes(record: Families) -> set[str]:
    return {item.code for item in record.warnings}


def test_a_fit_over_families_is_refused_with_both_ways_out() -> None:
    with pytest.raises(FitRefusedError) as refused:
        fit_law(table([DUAL, MULTI]), law="data")
    assert str(refused.value) == (
        "MIXED_FAMILY: the rows mix 2 model families (dual-encoder, multi-vector); --by model_family takes "
        "each by itself, or keep one: --where model_family=dual-encoder"
    )


@pytest.mark.parametrize("by", ["model_family", "model.family"])
def test_by_family_fits_each(by: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table([DUAL, Family("multi-vector", beta=0.4)]).to_csv(tmp_path / "t.csv", index=False)
    said = ["fit", "--table", str(tmp_path / "t.csv"), "--law", "data-no-floor", "--bootstrap", "0"]
    out = str(tmp_path / "fit.json")
    assert main([*said, "--out", out]) == 2
    assert "--by model_family" in capsys.readouterr().err
    assert main([*said, "--by", by, "--out", out]) == 0
    found = json.loads(Path(out).read_text())
    assert found["by"] == "model_family"
    exponents = {name: fit["params"]["beta"] for name, fit in found["groups"].items()}
    assert exponents == pytest.approx({"dual-encoder": 0.3, "multi-vector": 0.4}, rel=1e-6)
    assert main([*said, "--where", "model.family=dual-encoder", "--out", out]) == 0


def test_runs_that_state_no_family_are_dual_encoders() -> None:
    runs = table([DUAL, MULTI])
    assert len(keep_where(runs, ["model_family=dual-encoder"])) == len(runs) / 2
    plain = table([DUAL]).drop(columns="model_family")
    assert len(keep_where(plain, ["model_family=dual-encoder"])) == len(plain)
    assert list(split(plain, "model_family")[0]) == ["dual-encoder"]


def ranked(stages: list[str | None]) -> pd.DataFrame:
    runs: pd.DataFrame = table([DUAL])
    runs["eff/ndcg@10"] = 1 - np.exp(-1 / runs[EFF])
    runs["1 − eff/ndcg@10"] = 1 - runs["eff/ndcg@10"]
    runs["eval/first_stage"] = (stages * len(runs))[: len(runs)]
    return runs


def test_rankings_of_several_first_stages_are_refused() -> None:
    with pytest.raises(FitRefusedError) as refused:
        fit_law(ranked([None, "bm25@100"]), law="data", metric="1 − eff/ndcg@10")
    assert str(refused.value) == (
        "MIXED_FIRST_STAGE: the rows mix 2 first stages of a ranking (bm25@100, full ranking); keep one: "
        "--where eval/first_stage=bm25@100"
    )
    with pytest.raises(FitRefusedError, match="MIXED_FIRST_STAGE"):
        frontier(ranked([None, "bm25@100"]), FrontierOptions(x="eff/ndcg@10", y=OOD))


@pytest.mark.parametrize("stages", [[None], ["bm25@100"]])
def test_rankings_of_one_first_stage_and_entropies_of_several_may_be_fitted(stages: list[str | None]) -> None:
    quick = FitOptions(bootstrap=0)
    assert fit_law(ranked(stages), law="data-no-floor", metric="1 − eff/ndcg@10", options=quick).n_runs == 15
    assert fit_law(ranked([None, *stages]), law="data-no-floor", options=quick).n_runs == 15


def _mixture(runs: pd.DataFrame) -> object:
    kind: dict[str, Any] = {
        "strategy": "pareto",
        "omega/rule": "fixed",
        "train/steps": 9,
        "train/pairs_per_step": 64,
    }
    each = [runs.assign(**kind, **{"omega/final": omega}) for omega in (0.2, 0.5, 0.8)]
    return fit_mixture(pd.concat(each, ignore_index=True), MixtureOptions(EFF, OOD))


def _domains(runs: pd.DataFrame) -> object:
    one: dict[str, Any] = {"data/robust": "pandas", "model": "m", "frac": 1.0}
    return domains(runs.assign(**one), "standard", "pooled", "contrastive_entropy", 0.95)


REFUSING: dict[str, Callable[[pd.DataFrame], object]] = {
    "compare": lambda runs: compare(runs, "standard", "pooled"),
    "efficiency": lambda runs: efficiency(runs, "standard", "pooled"),
    "domains": _domains,
    "mixture": _mixture,
}


@pytest.mark.parametrize("name", REFUSING)
def test_no_analysis_mixes_families(name: str) -> None:
    runs = table([DUAL, MULTI], sizes=(1e6,), strategies=("standard", "pooled"), seeds=1)
    with pytest.raises(FitRefusedError, match="MIXED_FAMILY: the rows mix 2 model families"):
        REFUSING[name](runs)


def test_a_frontier_over_families_keeps_configurations_apart_and_says_so() -> None:
    record = frontier(table([DUAL, MULTI], strategies=("standard", "pooled")))
    assert {"dual-encoder", "multi-vector"} == {
        point.configuration.split(" · ")[0] for point in record.front.points
    }
    assert "SEVERAL_FAMILIES" in {item.code for item in record.warnings}
    each = frontier(table([DUAL, MULTI]), FrontierOptions(by=("model_family",)))
    assert [group.where["model_family"] for group in each.groups] == ["dual-encoder", "multi-vector"]
    assert "SEVERAL_FAMILIES" not in {item.code for item in each.warnings}


FOUR = (0.05, 0.1, 0.3, 1.0)
"""Fractions too few for a floor beside scale and exponent."""


def slope(record: Families, kind: str = "exponent", metric: str = EFF) -> SlopeTest:
    (found,) = [
        test for test in record.tests if (test.metric, test.resource, test.kind) == (metric, "D", kind)
    ]
    return found


def test_planted_exponents_are_recovered_and_told_apart() -> None:
    record = compared(table([DUAL, Family("multi-vector", beta=0.36)], fractions=FOUR, noise=0.01))
    found = {law.family: law.slopes[0] for law in record.laws if law.metric == EFF}
    for family, beta in (("dual-encoder", 0.30), ("multi-vector", 0.36)):
        low, high = found[family].profile or (None, None)
        assert low is not None
        assert high is not None
        assert low < beta < high
    test = slope(record)
    assert test.differs
    assert test.method == "paired"
    assert test.interval is not None
    assert test.interval[0] < 0.06 < test.interval[1]


@pytest.mark.parametrize("random", range(3))
def test_equal_exponents_are_not_told_apart(random: int) -> None:
    found = Family("multi-vector", scale=1.4)
    test = slope(compared(table([DUAL, found], fractions=FOUR, noise=0.01, random=random)))
    assert test.differs is False
    assert test.interval is not None
    assert test.interval[0] < 0 < test.interval[1]


def test_with_a_floor_local_slopes_tell_apart_what_exponents_leave_open() -> None:
    record = compared(table([DUAL, Family("multi-vector", beta=0.36)], noise=0.01))
    exponent, local = slope(record), slope(record, "local")
    assert (exponent.law, local.law) == ("data", "data")
    assert (exponent.differs, local.differs) == (False, True)
    assert local.interval is not None
    assert local.interval[0] < 0.06 < local.interval[1]


@pytest.mark.slow
def test_a_law_in_both_where_sizes_allow_and_slices_beside_it_for_the_others() -> None:
    sizes, larger = (1e6, 4e6, 16e6), Family("multi-vector", larger=1.02)
    wide = table([DUAL, larger], sizes=sizes, fractions=FOUR, seeds=2, noise=0.01)
    narrow = table([Family("sparse")], fractions=FOUR, seeds=2, noise=0.01)
    record = compared(pd.concat([wide, narrow], ignore_index=True))
    forms = {law.family: {one.law for one in record.laws if one.family == law.family} for law in record.laws}
    assert forms["dual-encoder"] == {"joint", "model-no-floor", "data-no-floor"}
    assert forms["sparse"] == {"data-no-floor"}
    joint = [test for test in record.tests if test.law == "joint"]
    assert {(test.first, test.second) for test in joint} == {("dual-encoder", "multi-vector")}
    assert {test.method for test in joint} == {"paired"}
    assert any("sparse" in item.message for item in record.warnings if item.code == "NO_EXPONENT")


def test_slices_at_different_sizes_are_named() -> None:
    apart = [table([DUAL], seeds=1), table([MULTI], sizes=(4e6,), seeds=1)]
    record = compared(pd.concat(apart, ignore_index=True))
    assert {"SLICES_DIFFER", "NO_COMMON_RANGE"} <= codes(record)
    assert not [gap for gap in record.equal if gap.equal == "N and D"]


def gaps(record: Families, equal: str, metric: str = EFF) -> list[Gap]:
    return [gap for gap in record.equal if (gap.equal, gap.metric, gap.places) == (equal, metric, 1)]


def test_equal_size_and_data_are_paired_by_seed() -> None:
    runs = table([DUAL, Family("multi-vector", scale=1.0, larger=1.04)], noise=0.01)
    record = compared(runs)
    found = gaps(record, "N and D")
    assert [gap.at["D"] for gap in found] == [frac * ALL_PAIRS for frac in (0.05, 0.1, 0.25, 0.5, 1.0)]
    here = runs[runs["frac"] == 0.5].assign(family=runs["model_family"].fillna("dual-encoder"))
    values = here.pivot_table(index="seed", columns="family", values=EFF)
    difference = (values["multi-vector"] - values["dual-encoder"]).to_numpy()
    gap = found[3]
    assert (gap.n, gap.method, gap.interpolated) == (3, "paired", [])
    assert gap.difference == pytest.approx(difference.mean())
    half = 4.302652729911275 * difference.std(ddof=1) / math.sqrt(3)  # t of 2 degrees of freedom
    assert gap.high == pytest.approx(difference.mean() + half)
    assert gap.better == "multi-vector"
    (mean,) = [one for one in record.equal if (one.equal, one.metric, one.places) == ("N and D", EFF, 5)]
    assert mean.difference == pytest.approx(np.mean([one.difference for one in found]))


def test_sizes_beyond_the_tolerance_are_not_equal() -> None:
    runs = table([DUAL, Family("multi-vector", larger=1.04)], seeds=1)
    assert gaps(compared(runs), "N and D")
    assert not gaps(compared(runs, tolerance=0.03), "N and D")


def test_equal_flops_lie_on_the_line_between_measured_points() -> None:
    """A power law is a line in ln metric against ln FLOPs, so interpolation is exact."""
    costly = Family("multi-vector", flops=2.0, scale=1.8)
    record = compared(table([DUAL, costly], sizes=(1e6, 4e6, 16e6), fractions=(0.5, 1.0), seeds=2))
    found = [gap for gap in gaps(record, "FLOPs") if gap.at["D"] == ALL_PAIRS]
    assert [gap.at["FLOPs"] for gap in found] == pytest.approx([2e11, 4e11, 8e11, 1.6e12])
    for gap in found:
        size = gap.at["FLOPs"] / 1e5 / 1e6
        expected = [
            family.scale * (size / family.flops) ** -family.alpha * (ALL_PAIRS / 1e4) ** -family.beta
            for family in (DUAL, costly)
        ]
        assert [gap.first_value, gap.second_value] == pytest.approx(expected, rel=1e-9)
    assert [gap.interpolated for gap in found[:2]] == [["dual-encoder"], ["multi-vector"]]


def test_what_does_not_overlap_is_not_extrapolated() -> None:
    record = compared(table([DUAL, Family("multi-vector", flops=100.0)], sizes=(1e6, 4e6), seeds=1))
    assert not gaps(record, "FLOPs")
    assert "SINGLE_SEED" in codes(record)
    (said,) = [
        item.message
        for item in record.warnings
        if item.code == "NO_COMMON_RANGE" and f"{ALL_PAIRS:,}" in item.message
    ]
    assert said == (
        "standard, dual-encoder and multi-vector at equal FLOPs: at D = 28,000, FLOPs of dual-encoder 1e+11 "
        "to 4e+11 and multi-vector 1e+13 to 4e+13"
    )


def test_at_equal_data_sizes_that_differ_are_interpolated() -> None:
    record = compared(table([DUAL, Family("multi-vector", larger=1.5)], sizes=(1e6, 4e6), seeds=1))
    found = [gap for gap in gaps(record, "D") if gap.at["D"] == ALL_PAIRS]
    assert [gap.at["N"] for gap in found] == pytest.approx([1.5e6, 4e6])
    assert [gap.difference for gap in found] == pytest.approx([0.0, 0.0], abs=1e-12)


@given(
    st.lists(st.floats(0.5, 5), min_size=3, max_size=3),
    st.lists(st.floats(0.5, 5), min_size=3, max_size=3),
    st.floats(1.0, 16.0),
)
def test_a_line_stays_between_its_neighbours(first: list[float], second: list[float], target: float) -> None:
    grid = pd.DataFrame([first, second], index=[1, 2], columns=[1.0, 4.0, 16.0])
    values, _ = _line(grid, EFF, target)
    after = min(int(np.searchsorted([1.0, 4.0, 16.0], target)), 2)
    sides = grid.iloc[:, [max(after - 1, 0), after]]
    assert (values >= sides.min(axis=1) * (1 - 1e-9)).all()
    assert (values <= sides.max(axis=1) * (1 + 1e-9)).all()


@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_the_slope_at_the_knee_follows_the_units(a: float, b: float) -> None:
    points = np.array([[1.0, 5.0], [1.5, 2.8], [2.0, 2.5], [4.0, 2.0], [4.0, 6.0]])
    # The knee is (1.5, 2.8), between (1, 5) and (2, 2.5).
    assert slope_at_knee(points * [a, b], np.ones(2)) == pytest.approx(-2.5 * b / a)


def test_one_point_has_no_slope() -> None:
    assert slope_at_knee(np.array([[1.0, 1.0], [2.0, 2.0]]), np.ones(2)) is None


def test_frontiers_share_a_reference_point() -> None:
    strategies = ("standard", "pooled", "pareto")
    record = compared(table([DUAL, MULTI], strategies=strategies[:2], seeds=2, noise=0.01))
    assert record.reference == pytest.approx([math.log(257)] * 2)
    assert [one.family for one in record.frontiers] == ["dual-encoder", "multi-vector"]
    assert all(one.rho is not None and one.slope is not None and one.slope < 0 for one in record.frontiers)


TRADED = (1.0, 2**0.5, 2.0, 2 * 2**0.5, 4.0)
"""Effectiveness losses of the settings on a frontier R = k/E."""


def traded(
    constants: dict[str, float],
    noise: float = 0.01,
    shared: float = 0.0,
    fractions: tuple[float, ...] = (1.0,),
    apart: bool = False,
    seeds: int = 3,
) -> pd.DataFrame:
    """Runs on R = k/E of every family: at the knee (E = 2) ρ* is k/4 and the slope −k/4.

    ``shared``: noise that the runs of one setting and seed have in common; ``apart``: no seed is shared.
    """
    random = np.random.default_rng(4)
    common = shared * random.normal(size=(len(fractions), len(TRADED), seeds, 2))
    rows = [
        {
            "run": f"{family}-{frac}-{setting}-{seed}",
            "model": "m",
            "model_family": family,
            "frac": frac,
            "strategy": f"setting-{setting}",
            "seed": seed + (100 * order if apart else 0),
            SIZE: 1e6,
            PAIRS: frac * ALL_PAIRS,
            EFF: eff * np.exp(common[place, setting, seed, 0] + noise * random.normal()),
            OOD: constant / eff * np.exp(common[place, setting, seed, 1] + noise * random.normal()),
            "eval/negatives": 256,
        }
        for order, (family, constant) in enumerate(constants.items())
        for place, frac in enumerate(fractions)
        for setting, eff in enumerate(TRADED)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def shift(record: Families, quantity: str, **where: Any) -> Shift:
    (found,) = [one for one in record.shifts if (one.quantity, one.where) == (quantity, where)]
    return found


def test_planted_shifts_of_the_trade_off_are_found() -> None:
    record = compared(traded({"dual-encoder": 4.0, "multi-vector": 6.0}))
    for quantity, first, second in (("rho", 1.0, 1.5), ("slope", -1.0, -1.5)):
        found = shift(record, quantity)
        assert found.first_value == pytest.approx(first, rel=0.05)
        assert found.second_value == pytest.approx(second, rel=0.05)
        assert found.interval is not None
        assert found.interval[0] < second - first < found.interval[1]
        assert found.differs
        assert (found.method, found.draws) == ("paired", QUICK.bootstrap)
    exact = compared(traded({"dual-encoder": 4.0, "multi-vector": 6.0}, noise=0.0, seeds=1))
    assert shift(exact, "slope").difference == pytest.approx(-0.5)
    assert shift(exact, "rho").difference == pytest.approx(0.5)
    assert (shift(exact, "rho").method, shift(exact, "rho").p) == ("none", None)


def test_equal_trade_offs_are_not_told_apart() -> None:
    record = compared(traded({"dual-encoder": 4.0, "multi-vector": 4.0, "sparse": 4.0}))
    assert [one.differs for one in record.shifts if not one.where] == [False] * 6
    for one in record.shifts:
        assert one.p_holm is not None
        assert one.p is not None
        assert one.p_holm >= one.p


def test_what_a_seed_does_to_both_families_cancels() -> None:
    constants = {"dual-encoder": 4.0, "multi-vector": 4.2}
    widths = []
    for apart in (False, True):
        found = shift(compared(traded(constants, noise=0.001, shared=0.03, apart=apart)), "rho")
        assert found.interval is not None
        widths.append(found.interval[1] - found.interval[0])
        assert found.method == ("independent" if apart else "paired")
        assert bool(found.differs) is not apart
    assert widths[0] < widths[1] / 4


def test_a_shift_in_one_cell_is_one_of_that_cell() -> None:
    both = {"dual-encoder": 4.0, "multi-vector": 4.0}
    runs = traded(both, fractions=(0.1, 1.0))
    large = (runs["frac"] == 1.0) & (runs["model_family"] == "multi-vector")
    runs.loc[large, OOD] *= 1.5
    record = compared(runs)
    assert shift(record, "slope", model="m", frac=0.1).differs is False
    assert shift(record, "slope", model="m", frac=1.0).differs
    assert Families.from_json(json.loads(json.dumps(record.to_json()))).shifts == record.shifts


def test_different_numbers_of_queries_are_named() -> None:
    runs = table([DUAL, MULTI], seeds=1)
    runs["eval/queries"] = np.where(runs["model_family"].isna(), 1000, 200)
    (said,) = [item.message for item in compared(runs).warnings if item.code == "EVALUATION_DIFFERS"]
    assert said == "eval/queries: dual-encoder 1000; multi-vector 200"


def test_what_cannot_be_compared() -> None:
    with pytest.raises(DataError, match=r"the runs have one model family \(dual-encoder\)"):
        compared(table([DUAL]))
    with pytest.raises(ConfigError, match="--strategy pareto: no such runs; the table has standard"):
        compared(table([DUAL, MULTI]), strategies=("pareto",))
    apart = pd.concat([table([DUAL]), table([MULTI], strategies=("pooled",))], ignore_index=True)
    with pytest.raises(DataError, match="no strategy was run in two families"):
        compared(apart)
    with pytest.raises(ConfigError, match="--law joined does not exist"):
        compared(table([DUAL, MULTI]), law="joined")


def test_command_writes_a_record_that_reads_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted = table([DUAL, Family("multi-vector", beta=0.4)], fractions=FOUR, noise=0.01)
    planted.to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "families.json"
    given = ["families", "--table", str(tmp_path / "t.csv"), "--bootstrap", "100", "--out", str(out)]
    assert main(given) == 0
    record = Families.load(out)
    assert list(record.families) == ["dual-encoder", "multi-vector"]
    assert record.source is not None
    text = capsys.readouterr().out
    assert "β of eff/contrastive_entropy (standard, data-no-floor) is larger in multi-vector" in text
    assert "ρ* over all runs is not told apart in dual-encoder and multi-vector" in text
    assert {SIZE, FLOPS} <= set(pd.read_csv(tmp_path / "t.csv"))


SMALL = (0.1, 1.0)
"""Fractions too few for laws, so that pages are made soon."""


def test_the_page_compares_families_only_where_there_are_several(tmp_path: Path) -> None:
    formats = ReportOptions(formats=("svg",))
    alone = build_report(Collected(table([DUAL], fractions=SMALL)), tmp_path / "alone", formats)
    assert "Comparing families" not in alone.read_text(encoding="utf-8")
    runs = table([DUAL, MULTI], fractions=SMALL)
    page = build_report(Collected(runs), tmp_path / "both", formats)
    text = page.read_text(encoding="utf-8")
    assert "Comparing families" in text
    assert (page.parent / "figures" / "families-D-eff.svg").is_file()
    assert (page.parent / "families.json").is_file()
    for family in ("dual-encoder", "multi-vector"):
        assert f'href="{family}/index.html"' in text
        own = pd.read_csv(page.parent / family / "tables" / "runs.csv")
        assert set(families_of(own)) == {family}
        assert "Comparing families" not in (page.parent / family / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([^#"]+)"', text)
    assert all((page.parent / link).is_file() for link in links)
