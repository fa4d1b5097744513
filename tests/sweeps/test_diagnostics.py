"""Every code appears on a table made to deserve it, and not on a sound one."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from law_tables import COLUMNS, JOINT, PAIRS, SIZES, law_table

from retrieval.errors import TrainingError
from sweeps.codes import CODES, documented
from sweeps.diagnostics import Diagnostic, FitRefusedError, TableError, diagnose
from sweeps.fitting.fit import fit_law
from sweeps.fitting.result import FitOptions, FitResult
from sweeps.report.page import Section

REPOSITORY = Path(__file__).resolve().parents[2]

ENVIRONMENT = (
    "GOMP_",
    "CUBLAS_",
    "ONEDNN_",
    "DNNL_",
    "CUDA_",
    "SBATCH_",
    "SLURM_",
    "HF_",
    "DISABLE_SAFETENSORS_",
    "MKL_",
    "OMP_",
    "OPENBLAS_",
    "PARETRIEVE_",
    "PYTORCH_",
    "RAY_",
    "RAYON_",
    "SUBMITIT_",
    "WANDB_",
)
"""How the names of environment variables begin: they are written as codes are, and are none."""

QUICK = FitOptions(bootstrap=0, starts=50)
SOUND = {"seeds": 3, "seed_sd": 0.01}


def fit(
    table: pd.DataFrame,
    law: str = "joint",
    options: FitOptions = QUICK,
    metric: str = "y",
    compare: bool = False,
) -> FitResult:
    return fit_law(table, law=law, metric=metric, columns=COLUMNS, options=options, compare_forms=compare)


def message(result: FitResult, code: str) -> str:
    return next(warning.message for warning in result.warnings if warning.code == code)


def test_a_sound_sweep_has_no_warning() -> None:
    assert fit(law_table(**SOUND), options=FitOptions(bootstrap=100), compare=True).codes == []


def test_every_code_has_a_level_a_meaning_and_something_to_do() -> None:
    listed = (
        "FLOOR_NOT_IDENTIFIED EXPONENT_AT_BOUND FEWER_THAN_3_LEVELS SATURATED_FIT LACK_OF_FIT LOW_R2 "
        "HIGH_R2_BAD_EXTRAPOLATION NON_MONOTONE STARTS_DISAGREE OBJECTIVE_SENSITIVE COLLINEAR_N_D "
        "FORM_AMBIGUOUS ABOVE_CHANCE_PREDICTION EXTRAPOLATION_FACTOR TARGET_BELOW_FLOOR "
        "MULTIPLIER_NOT_CONSTANT SELECTED_ON_TEST MIXED_PARAM_CONVENTION MIXED_NEGATIVES_W SINGLE_SEED"
    )
    assert set(listed.split()) <= set(CODES)
    for name, code in CODES.items():
        assert (code.name, code.level in ("error", "warning", "info")) == (name, True)
        assert code.meaning
        assert code.remedy
        found = diagnose(name, "numbers")
        assert Diagnostic.from_json(found.to_json()) == found


def test_every_code_is_documented() -> None:
    page = (REPOSITORY / "docs" / "codes.md").read_text(encoding="utf-8")
    assert page == documented(), "write docs/codes.md anew with: make codes"
    assert [code for code in CODES if f"| `{code}` |" not in page] == []


def test_no_other_page_lists_codes() -> None:
    pages = [path for path in (REPOSITORY / "docs").glob("*.md") if path.name != "codes.md"]
    listed = {
        path.name: re.findall(r"^\| `([A-Z0-9]+(?:_[A-Z0-9]+)+)` \|", path.read_text(), re.M)
        for path in pages
    }
    assert {name: codes for name, codes in listed.items() if codes} == {}


def test_what_is_raised_is_what_is_registered() -> None:
    raised = set().union(*map(raised_codes, modules()))
    assert raised - set(CODES) == set(), "raised, but not in the registry"
    assert set(CODES) - raised == set(), "in the registry, but never raised"


def test_codes_that_are_not_in_the_registry_are_refused() -> None:
    for raise_code in (diagnose, FitRefusedError, TrainingError, Section("a", "A").missing):
        with pytest.raises(ValueError, match="NO_SUCH_CODE is no code of the registry"):
            raise_code("NO_SUCH_CODE", "numbers")


def modules() -> list[Path]:
    """The modules that may raise a code: all but the registries."""
    paths = [path for package in ("retrieval", "sweeps") for path in (REPOSITORY / package).rglob("*.py")]
    return [path for path in paths if path.name != "codes.py"]


def raised_codes(path: Path) -> set[str]:
    """Literals that look like codes, alone or before a colon; those compared with are not raised."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [node for top in tree.body if not is_export(top) for node in ast.walk(top)]
    compared = {id(part) for node in nodes if isinstance(node, ast.Compare) for part in ast.walk(node)}
    texts = [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in compared
    ]
    found = (re.match(r"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:: |$)", text) for text in texts)
    return {match[1] for match in found if match and not match[1].startswith(ENVIRONMENT)}


def is_export(node: ast.stmt) -> bool:
    """Whether a statement is ``__all__ = …``."""
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
    )


def test_single_seed() -> None:
    assert "SINGLE_SEED" in fit(law_table(seed_sd=0.01)).codes


def test_fewer_than_three_levels() -> None:
    result = fit(law_table(sizes=[1e6, 1e7], **SOUND))
    assert "N has 2 distinct values" in message(result, "FEWER_THAN_3_LEVELS")


def test_saturated_fit() -> None:
    result = fit(law_table(sizes=SIZES[:2], pairs=PAIRS[:2], **SOUND))
    assert "4 configurations for 5 parameters" in message(result, "SATURATED_FIT")
    assert result.bootstrap is None
    assert np.isinf(result.aicc["joint"])


def test_floor_not_identified() -> None:
    table = law_table("additive-no-floor", {"A": 40.0, "alpha": 0.3, "B": 20.0, "beta": 0.3}, **SOUND)
    result = fit(table, "additive")
    assert "interval reaches from 0" in message(result, "FLOOR_NOT_IDENTIFIED")


def test_exponent_at_bound() -> None:
    # A step of a thousandfold between two sizes is steeper than any exponent searched for.
    table = law_table(sizes=[1e6], seed_sd=0.0)
    table["y"] = np.where(table["D"] < 1e4, 5.0, 0.5) + 1e-6 * np.arange(len(table))
    table["D"] = 1e6 * (1 + 0.01 * np.arange(len(table)))
    result = fit(table, "data")
    assert "end of its search range" in message(result, "EXPONENT_AT_BOUND")


def test_exponent_not_identified() -> None:
    table = law_table(sizes=[1e6], pairs=PAIRS[:4], seeds=2, seed_sd=0.4)
    assert "EXPONENT_NOT_IDENTIFIED" in fit(table, "data").codes


def test_low_r2() -> None:
    result = fit(law_table(sizes=[1e6], pairs=PAIRS, seed_sd=1.5, random=3), "data-no-floor")
    assert "LOW_R2" in result.codes


def test_lack_of_fit_only_where_seeds_can_see_it() -> None:
    assert "LACK_OF_FIT" in fit(law_table(seeds=3, seed_sd=0.002, configuration_sd=0.05)).codes
    assert "LACK_OF_FIT" not in fit(law_table(seeds=1, configuration_sd=0.05)).codes


def test_high_r2_bad_extrapolation() -> None:
    # Two power laws in series: the slope changes beyond the sizes left in the reduced fit.
    table = law_table(
        "data", {"B": 6e4, "beta": 0.5, "delta": 0.05}, [1e6], np.geomspace(1e3, 1e5, 8), **SOUND
    )
    table.loc[table["D"] > 9e4, "y"] *= 0.8
    result = fit(table, "data-no-floor")
    assert result.r2["log"] > 0.95
    assert "without the largest D the law misses it by" in message(result, "HIGH_R2_BAD_EXTRAPOLATION")


def test_non_monotone() -> None:
    table = law_table(**SOUND)
    worse = (table["N"] > 8e7) & (table["D"] > 4e5)
    table.loc[worse, "y"] *= 3
    assert "the metric rises by" in message(fit(table), "NON_MONOTONE")


def test_noise_in_a_large_grid_is_not_non_monotone() -> None:
    table = law_table(sizes=np.geomspace(4e5, 8.6e7, 20), pairs=np.geomspace(5e3, 5e5, 10), seed_sd=0.01)
    assert "NON_MONOTONE" not in fit(table).codes


def test_starts_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeps.fitting import estimate

    whole = estimate.minimise
    monkeypatch.setattr(estimate, "minimise", lambda *args: replace(whole(*args), tried=96, agreeing=2))
    assert message(fit(law_table(**SOUND)), "STARTS_DISAGREE") == "2 of 96 starts reached the best objective"


def test_objective_sensitive() -> None:
    table = law_table(seed_sd=0.005)
    table.loc[[0, 1], "y"] *= [1.5, 0.8]
    assert "outside its interval" in message(
        fit(table, options=replace(QUICK, loss="huber")), "OBJECTIVE_SENSITIVE"
    )


def test_collinear() -> None:
    n = np.geomspace(1e6, 1e8, 8)
    table = pd.concat([law_table(sizes=[size], pairs=[size / 50], **SOUND) for size in n])
    assert "correlation 1.000" in message(fit(table), "COLLINEAR_N_D")


def test_forms_ambiguous_and_better() -> None:
    narrow = law_table(sizes=SIZES[:3], pairs=PAIRS[:3], seeds=2, seed_sd=0.1)
    assert "does not tell" in message(fit(narrow, "joint-no-floor", compare=True), "FORM_AMBIGUOUS")
    assert "joint describes the same points better" in message(
        fit(law_table(**SOUND), "additive", compare=True), "BETTER_FORM_EXISTS"
    )


def test_above_chance_inside_the_fitted_range() -> None:
    table = law_table(pairs=[5e2, 1e3, 1e4, 1e5], **SOUND)
    result = fit(table, options=replace(QUICK, chance=5.549))
    assert "above chance 5.549" in message(result, "ABOVE_CHANCE_PREDICTION")


def test_chance_comes_from_the_number_of_negatives() -> None:
    table = (
        law_table(**SOUND).rename(columns={"y": "eff/contrastive_entropy"}).assign(**{"eval/negatives": 256})
    )
    result = fit(table, metric="eff/contrastive_entropy", compare=True)
    assert result.chance == pytest.approx(np.log(257))
    assert "joint-bounded" in result.aicc
    assert "joint-bounded" not in fit(law_table(**SOUND), compare=True).aicc


def test_selected_on_test() -> None:
    table = law_table(**SOUND).assign(**{"eval/selection": "test"})
    assert "SELECTED_ON_TEST" in fit(table).codes
    best = law_table(**SOUND).rename(columns={"y": "eff/best_contrastive_entropy"})
    assert "SELECTED_ON_TEST" in fit(best, metric="eff/best_contrastive_entropy").codes


def test_bootstrap_unstable_and_intervals_disagree() -> None:
    table = law_table(sizes=[1e6], pairs=PAIRS[:3], seeds=3, seed_sd=0.01)
    result = fit(table, "data-no-floor", options=FitOptions(bootstrap=50))
    assert "BOOTSTRAP_UNSTABLE" in result.codes


@pytest.mark.parametrize(
    ("column", "values", "code"),
    [
        ("size/convention", ["non_embedding", "total"], "MIXED_PARAM_CONVENTION"),
        ("eval/negatives", [256, 64], "MIXED_NEGATIVES_W"),
        ("eval/pool", [2000, 50000], "MIXED_EVALUATION"),
        ("data/fingerprint", ["aa", "bb"], "MIXED_COLLECTION"),
        ("data", ["pydocs", "msmarco"], "MIXED_COLLECTION"),
        ("strategy", ["standard", "pareto"], "MIXED_STRATEGY"),
        ("omega/rule", ["dro", "fixed"], "MIXED_STRATEGY"),
    ],
)
def test_mixtures_are_refused_with_the_reason(column: str, values: list[object], code: str) -> None:
    table = law_table(**SOUND).rename(columns={"y": "eff/contrastive_entropy"})
    table[column] = [values[index % 2] for index in range(len(table))]
    with pytest.raises(FitRefusedError, match=f"{code}: the rows mix 2 .*{values[0]}"):
        fit(table, metric="eff/contrastive_entropy")


def test_mixed_negatives_matter_to_contrastive_entropy_only() -> None:
    table = law_table(**SOUND)
    table["eval/negatives"] = np.arange(len(table)) % 2
    assert fit(table).n_runs == len(table)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"y": None}, "column 'y' is not in the table; it has N, D, seed"),
        ({"y": np.nan}, "row 1: y = nan is not a positive number and 89 more rows"),
        ({"y": -1.0}, "y = -1.0 is not a positive number"),
        ({"y": "text"}, "y = 'text' is not a positive number"),
        ({"N": 0.0}, "N = 0.0 is not a positive number"),
        ({"D": np.inf}, "D = inf is not a positive number"),
        ({"N": 1e6}, r"all rows have the same N \(N = 1e\+06\); fit --law data instead"),
        ({"D": 1e6}, r"all rows have the same D .*fit --law model instead"),
    ],
)
def test_bad_tables_are_refused_in_one_line(change: dict[str, object], reason: str) -> None:
    table = law_table(**SOUND)
    for column, value in change.items():
        table = table.drop(columns=column) if value is None else table.assign(**{column: value})
    with pytest.raises((TableError, FitRefusedError), match=reason) as caught:
        fit(table)
    assert "\n" not in str(caught.value)


def test_one_configuration_and_no_rows_are_refused() -> None:
    with pytest.raises(TableError, match="the table has one configuration"):
        fit(law_table(sizes=[1e6], pairs=[1e4], seeds=3))
    with pytest.raises(TableError, match="no rows"):
        fit(law_table().iloc[:0])


def test_metrics_that_rise_with_quality_are_refused_with_the_way_out() -> None:
    table = law_table(**SOUND).rename(columns={"y": "eff/ndcg@10"})
    with pytest.raises(TableError, match="--complement"):
        fit(table, metric="eff/ndcg@10")


def test_one_run_with_two_values_is_refused() -> None:
    table = law_table(**SOUND)
    table["run"] = ["same" if index < 2 else f"r{index}" for index in range(len(table))]
    with pytest.raises(TableError, match="run 'same' stands in the table twice"):
        fit(table)


def test_small_demonstration_sweep_is_fitted_with_honest_warnings() -> None:
    table = law_table(sizes=SIZES[:3], pairs=np.geomspace(3e3, 3e4, 4), seed_sd=0.02)
    joint = fit(table, options=FitOptions(bootstrap=200))
    assert "SINGLE_SEED" in joint.codes
    assert joint.params["beta"] == pytest.approx(JOINT["beta"], rel=0.3)
    assert joint.holdout.n == 4
    low, high = joint.mean_band(SIZES[1], 1e4)
    assert low < joint.predict(SIZES[1], 1e4) < high
    model = fit(table, "model")
    assert {"SATURATED_FIT", "SLICE_USED", "FLOOR_NOT_IDENTIFIED", "SINGLE_SEED"} <= set(model.codes)
    data = fit(table, "data", options=FitOptions(bootstrap=200))
    assert data.n_configs == 4
    assert all(None not in data.intervals[name] for name in ("B", "beta"))
