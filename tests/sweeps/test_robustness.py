"""Statistics over per-query scores: planted effects, exact cases, coverage, odd tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from score_runs import Truth, simulate, write_run, write_scores

from retrieval.errors import ConfigError
from sweeps.cli import main
from sweeps.diagnostics import TableError
from sweeps.fitting.configurations import label_runs
from sweeps.robustness.components import cells_of, within
from sweeps.robustness.compute import RobustnessOptions, robustness, statistics
from sweeps.robustness.model import mixed_model
from sweeps.robustness.record import KindStatistics, Robustness
from sweeps.robustness.resampling import Contrast, draw, drawn_weights, p_value, run_weights, widened
from sweeps.robustness.scores import Kind, load_scores, place
from sweeps.robustness.words import size_word

TRUTH = Truth()


def kinds(record: Robustness) -> dict[str, KindStatistics]:
    return {kind.kind: kind for kind in record.kinds}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, Robustness]:
    folder = tmp_path_factory.mktemp("runs")
    table = write_scores(folder, TRUTH, seed=3)
    return folder, table, robustness(table, folder, RobustnessOptions(bootstrap=500))


def test_sets_have_a_kind_and_a_collection() -> None:
    assert place("eff", "toy") == ("eff", "toy")
    assert place("ood/stdlib", "toy") == ("ood", "stdlib")
    assert place("adv", "toy") == ("adv", "toy")
    assert place("adv/poison", "toy") == ("adv/poison", "toy")
    assert place("var/typo", "toy") == ("var/typo", "toy")
    assert place("var/typo/stdlib", "toy") == ("var/typo", "stdlib")
    assert place("dev/ood/x", "toy") is None
    assert place("adv/clean", "toy") is None


def test_planted_effects_are_recovered(planted: tuple[Path, pd.DataFrame, Robustness]) -> None:
    found = kinds(planted[2])
    assert list(found) == ["eff", "ood", "eff+ood"]
    mixed = found["eff+ood"].mixed
    assert mixed is not None
    assert mixed.converged
    assert mixed.n_scores == 18 * 3 * 60
    effects = {effect.name: effect for effect in mixed.effects}
    assert set(effects) == {"strategy=adversarial", "doubling D"}
    for name, true in (("strategy=adversarial", -0.3), ("doubling D", TRUTH.doubling)):
        assert effects[name].low < true < effects[name].high
        assert effects[name].p_holm < 0.001
    (difference,) = found["eff+ood"].differences
    assert difference.low < -0.3 < difference.high
    assert (difference.pairs, difference.cells) == (9, 3)
    assert (
        "strategy=adversarial lowers eff+ood contrastive entropy by 0.283 [0.201, 0.376]" in difference.words
    )
    assert "better, small" in difference.words


def test_variances_are_those_that_were_planted(planted: tuple[Path, pd.DataFrame, Robustness]) -> None:
    mixed = kinds(planted[2])["eff+ood"].mixed
    assert mixed is not None
    # 99.9 % intervals of the two mean squares, chi-square with their degrees of freedom.
    for name, true, freedom in (
        ("residual", TRUTH.residual**2, 3 * 17 * 59),
        ("query", TRUTH.query**2, 3 * 59),
    ):
        low, high = stats.chi2.ppf([0.0005, 0.9995], freedom) / freedom
        assert true * low * 0.99 < mixed.variances[name] < true * high * 1.01
    assert sum(mixed.shares.values()) == pytest.approx(1)


def test_one_collection_gives_least_squares_on_means_of_runs(
    planted: tuple[Path, pd.DataFrame, Robustness],
) -> None:
    _, table, record = planted
    mixed = kinds(record)["eff"].mixed
    assert mixed is not None
    is_second = (table["strategy"] == "adversarial").to_numpy(float)
    design = np.column_stack([np.ones(18), is_second, np.log2(table["size/train_pairs"])])
    y = table["eff/contrastive_entropy"].to_numpy()
    beta, squares, *_ = np.linalg.lstsq(design, y, rcond=None)
    error = np.sqrt(squares[0] / 15 * np.linalg.inv(design.T @ design)[1, 1])
    half = stats.t.ppf(0.975, 15) * error
    first = mixed.effects[0]
    # Scores are stored as float32.
    assert [first.estimate, first.low, first.high] == pytest.approx(
        [beta[1], beta[1] - half, beta[1] + half], abs=1e-5
    )


def test_a_balanced_layout_gives_the_mean_squares_of_a_table_of_means(tmp_path: Path) -> None:
    """REML of the crossed part is the analysis of variance (Searle et al. 1992, sec. 4.5)."""
    truth = replace(
        TRUTH, strategies={"standard": 0.0, "adversarial": 0.0}, fractions=(1.0,), seeds=6, run=0.3
    )
    table = write_scores(tmp_path, truth, seed=5)
    kind = load_scores(label_runs(table), tmp_path, "contrastive_entropy").kinds[-1]
    mixed, _ = mixed_model(kind, "contrastive_entropy", "standard", 0.95)
    assert mixed is not None
    means = np.stack([matrix.mean(axis=1) for matrix in kind.scores.values()], axis=1)
    side = (kind.runs["strategy"] == "adversarial").to_numpy()
    of_runs = means.mean(axis=1)
    centred = of_runs - np.where(side, of_runs[side].mean(), of_runs[~side].mean())
    runs_square = 3 * (centred**2).sum() / 10
    rest = means - means.mean(axis=0) - of_runs[:, None] + means.mean()
    # Within strategies and collections: 12 runs × 3 collections less margins.
    rest_square = (rest**2).sum() / (11 * 2)
    error = np.sqrt(runs_square / 3 * (1 / 6 + 1 / 6))
    half = stats.t.ppf(0.975, 10) * error
    assert mixed.effects[0].high - mixed.effects[0].estimate == pytest.approx(half, rel=0.01)
    assert mixed.variances["run"] == pytest.approx((runs_square - rest_square) / 3, rel=0.02)


def test_mean_squares_by_hand() -> None:
    # Rows 0 and 2 apart, columns 0 and 4 apart, one interaction of 1: effects of queries −2.5 and 2.5.
    matrix = np.array([[0.0, 4.0], [2.0, 8.0]])
    between, noise = 2 * (2.5**2 + 2.5**2), 4 * 0.5**2
    assert within([matrix]) == pytest.approx(((between - noise) / 2, noise))


def test_weights_have_the_unbiased_variance_at_every_level() -> None:
    generator = np.random.default_rng(0)
    values = np.array([0.0, 1.0, 5.0])
    drawn = drawn_weights(generator, 20_000, 3) @ values
    # Variance of a mean of three: s²/3 = 7/3; that of 20,000 draws is off by 1 % (one standard error).
    assert drawn.var() == pytest.approx(values.var(ddof=1) / 3, rel=0.04)
    weights = run_weights(np.array([0, 0, 1, 1, 1]), 100, seed=1)
    assert weights.sum(axis=1) == pytest.approx(np.ones(100))
    assert weights[:, :2].sum(axis=1) == pytest.approx(np.full(100, 0.5))
    drawn_queries = draw({"a": 4, "b": 7}, 50, seed=0)
    total = sum(part.sum(axis=1) for part in drawn_queries.moving.values())
    assert total == pytest.approx(np.ones(50))


def test_p_values_are_students_with_the_spread_of_the_draws() -> None:
    draws = np.array([0.9, 1.0, 1.1, 1.2, 1.3])
    assert p_value(1.1, draws) == pytest.approx(2 * stats.norm.sf(1.1 / draws.std(ddof=1)))
    assert p_value(1.1, draws, 2) == pytest.approx(2 * stats.t.sf(1.1 / draws.std(ddof=1), 2))
    assert p_value(0.0, np.zeros(9)) == 1.0
    assert p_value(1.0, np.ones(9)) == pytest.approx(2 / 10)


@pytest.mark.parametrize(("queries_noise", "seeds"), [(0.0, 3), (0.0, 5), (3.0, 3)])
def test_a_few_seeds_decide_as_often_as_the_level_says(queries_noise: float, seeds: int) -> None:
    generator, count, queries = np.random.default_rng(1), 500, 40
    cell, measured = np.zeros(seeds, dtype=np.intp), {"a": np.ones(seeds, dtype=bool)}
    drawn = draw({"a": queries}, 400, seed=0).fixed
    weights = run_weights(cell, 400, 0)
    decided = covered = 0
    for _ in range(count):
        values = generator.normal(size=(seeds, 1)) + queries_noise * generator.normal(size=(seeds, queries))
        contrast = Contrast({"a": values}, measured, cell)
        draws = contrast.draws(weights, drawn, 1.0)
        freedom = contrast.freedom(draws)
        assert freedom >= seeds - 1
        decided += p_value(contrast.mean(), draws, freedom) < 0.05
        low, high = np.quantile(widened(contrast.mean(), draws, freedom, 0.95), [0.025, 0.975])
        covered += low <= 0 <= high
    # Three standard deviations of a share of .05 in 500; by normal draws .19 of three seeds decided.
    assert decided / count < 0.05 + 3 * np.sqrt(0.05 * 0.95 / count)
    assert covered / count > 0.95 - 3 * np.sqrt(0.05 * 0.95 / count)


def test_a_contrast_without_noise_has_no_width() -> None:
    values = {"a": np.full((2, 4), 0.25), "b": np.full((2, 7), 0.75)}
    contrast = Contrast(values, dict.fromkeys("ab", np.ones(2, dtype=bool)), np.zeros(2, dtype=np.intp))
    draws = draw({"a": 4, "b": 7}, 30, seed=0)
    weights = run_weights(contrast.cell, 30, 0)
    assert contrast.mean() == 0.5
    assert contrast.draws(weights, draws.fixed, 0.5) == pytest.approx(np.full(30, 0.5))
    # One of two collections is drawn at a time.
    assert set(contrast.draws(weights, draws.moving, 1.0).round(9)) == {0.25, 0.75}


def test_equal_things_win_half_the_time(tmp_path: Path) -> None:
    scores = {"eff": np.arange(20.0), "ood/far": np.arange(30.0)}
    rows = []
    for strategy in ("standard", "adversarial"):
        for seed in (1, 2):
            row = {"run": f"{strategy}{seed}", "strategy": strategy, "seed": seed, "data": "toy"}
            rows.append(row)
            write_run(tmp_path / str(row["run"]), row, scores)
    record = robustness(pd.DataFrame(rows), tmp_path, RobustnessOptions(bootstrap=200))
    for kind in record.kinds:
        (win,) = kind.wins
        assert (win.probability, win.low, win.high, win.p) == (0.5, 0.5, 0.5, 1.0)
        (difference,) = kind.differences
        assert (difference.difference, difference.low, difference.high) == (0, 0, 0)
        assert "not decided" in difference.words


def test_wins_and_ties_by_hand(tmp_path: Path) -> None:
    first, second = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 2.0, 5.0])
    rows = []
    for strategy, values in (("standard", first), ("adversarial", second)):
        row = {"run": strategy, "strategy": strategy, "seed": 1, "data": "toy"}
        rows.append(row)
        write_run(tmp_path / strategy, row, {"eff": values})
    (kind,) = robustness(pd.DataFrame(rows), tmp_path, RobustnessOptions(bootstrap=200)).kinds
    # Contrastive entropy: lower is better. Better at the first and last query, equal at the second.
    assert kind.wins[0].first == "standard"
    assert kind.wins[0].probability == (1 + 0.5 + 0 + 1) / 4
    assert kind.differences[0].difference == pytest.approx((second - first).mean())


def test_p_values_are_corrected_by_holm(tmp_path: Path) -> None:
    truth = replace(
        TRUTH, strategies={"standard": 0.0, "adversarial": -0.3, "pooled": 0.02, "denoising": 0.1}
    )
    table = write_scores(tmp_path, truth, seed=4)
    kind = kinds(robustness(table, tmp_path, RobustnessOptions(bootstrap=300)))["ood"]
    assert kind.mixed is not None
    for found in (kind.mixed.effects, kind.differences, kind.wins):
        p = [one.p for one in found]
        order = np.argsort(p, kind="stable")
        largest = 0.0
        for rank, place_ in enumerate(order):
            largest = max(largest, min(1.0, (len(p) - rank) * p[place_]))
            assert found[place_].p_holm == pytest.approx(largest)


def test_no_effect_is_covered_as_often_as_is_said() -> None:
    truth = replace(
        TRUTH, strategies={"standard": 0.0, "adversarial": 0.0}, fractions=(1.0,), seeds=6, queries=12
    )
    covered = np.zeros(2)
    count = 60
    for seed in range(count):
        rows, scores = simulate(truth, seed=100 + seed)
        matrix = np.stack([own["eff"] for own in scores])
        simulated = Kind("eff", label_runs(pd.DataFrame(rows)), {"toy": matrix})
        kind, _ = statistics(simulated, "standard", RobustnessOptions(bootstrap=200))
        assert kind.mixed is not None
        covered += [kind.mixed.effects[0].low <= 0 <= kind.mixed.effects[0].high, _covers(kind)]
    # Binomial: with 95 % coverage fewer than 51 of 60 have probability below .001; percentile intervals over
    # six seeds are narrower than Student's by 2.57/1.96, which leaves 88 % of them.
    assert covered[0] >= stats.binom.ppf(0.001, count, 0.95)
    assert covered[1] >= stats.binom.ppf(0.001, count, 0.88)


def _covers(kind: KindStatistics) -> bool:
    (one,) = kind.differences
    return one.low <= 0 <= one.high


def test_a_run_without_a_collection_counts_where_it_was_measured(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    rows = []
    for strategy in ("standard", "adversarial"):
        for seed in (1, 2, 3):
            row = {"run": f"{strategy}{seed}", "strategy": strategy, "seed": seed, "data": "toy"}
            rows.append(row)
            scores = {"eff": generator.random(20)}
            if seed < 3:
                scores["ood/far"] = 5 + generator.random(20)
            write_run(tmp_path / str(row["run"]), row, scores)
    found = kinds(robustness(pd.DataFrame(rows), tmp_path, RobustnessOptions(bootstrap=200)))
    assert [found[name].runs for name in ("eff", "ood", "eff+ood")] == [6, 4, 6]
    difference = found["eff+ood"].differences[0]
    parts = [found[name].differences[0].difference for name in ("eff", "ood")]
    assert difference.difference == pytest.approx(np.mean(parts))


def test_queries_that_a_run_lacks_are_left_out_and_named(tmp_path: Path) -> None:
    rows = []
    for strategy, count in (("standard", 20), ("adversarial", 15)):
        row = {"run": strategy, "strategy": strategy, "seed": 1, "data": "toy"}
        rows.append(row)
        write_run(tmp_path / strategy, row, {"eff": np.arange(float(count))})
    rows.append({"run": "lost", "strategy": "standard", "seed": 2, "data": "toy"})
    record = robustness(pd.DataFrame(rows), tmp_path, RobustnessOptions(bootstrap=100, max_queries=12))
    assert record.kinds[0].collections == {"toy": 12}
    codes = [warning.code for warning in record.warnings]
    assert {"SCORES_MISSING", "QUERIES_NOT_SHARED", "QUERIES_SAMPLED", "SINGLE_SEED"} <= set(codes)
    assert record.kinds[0].mixed is None
    assert "NO_MIXED_MODEL" in codes


def test_effects_that_cannot_be_told_apart_are_named(tmp_path: Path) -> None:
    table = write_scores(tmp_path, TRUTH, seed=2)
    table["size/params_non_embedding"] = table["size/train_pairs"]
    record = robustness(table, tmp_path, RobustnessOptions(bootstrap=100, kinds=("eff",)))
    assert record.kinds[0].mixed is not None
    assert [effect.name for effect in record.kinds[0].mixed.effects] == ["strategy=adversarial", "doubling N"]
    assert "doubling D" in next(w.message for w in record.warnings if w.code == "EFFECTS_ALIASED")


def test_an_optimiser_that_does_not_converge_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from statsmodels.regression.mixed_linear_model import MixedLMResults

    never = property(lambda self: False, lambda self, _: None)
    monkeypatch.setattr(MixedLMResults, "converged", never, raising=False)
    table = write_scores(tmp_path, TRUTH, seed=2)
    record = robustness(table, tmp_path, RobustnessOptions(bootstrap=100, kinds=("ood",)))
    assert "MIXED_MODEL_NOT_CONVERGED" in [warning.code for warning in record.warnings]
    assert record.kinds[0].mixed is not None
    assert not record.kinds[0].mixed.converged


def test_runs_can_be_held_against_each_other(planted: tuple[Path, pd.DataFrame, Robustness]) -> None:
    folder, table, _ = planted
    few = table[table["seed"] == 1]
    record = robustness(few, folder, RobustnessOptions(by="run", bootstrap=100, kinds=("eff",)))
    assert len(record.kinds[0].wins) == 6 * 5 / 2
    assert len(record.kinds[0].differences) == 5


def test_what_cannot_be_is_one_line(planted: tuple[Path, pd.DataFrame, Robustness], tmp_path: Path) -> None:
    folder, table, _ = planted
    with pytest.raises(
        TableError, match=r"--metric ndcg@5: .* has no such scores; it has contrastive_entropy"
    ):
        robustness(table, folder, RobustnessOptions(metric="ndcg@5"))
    with pytest.raises(ConfigError, match=r"--kind var/typo: .* they have eff, ood, eff\+ood"):
        robustness(table, folder, RobustnessOptions(kinds=("var/typo",)))
    with pytest.raises(ConfigError, match="--baseline pareto: no such runs; --by strategy has standard"):
        robustness(table, folder, RobustnessOptions(baseline="pareto"))
    with pytest.raises(ConfigError, match="--by model: the runs have one value"):
        robustness(table, folder, RobustnessOptions(by="model"))
    with pytest.raises(TableError, match="no run has per-query scores"):
        robustness(table, tmp_path, RobustnessOptions())


def test_words_of_sizes() -> None:
    assert [size_word(size) for size in (0.1, -0.3, 0.6, -0.9)] == ["negligible", "small", "medium", "large"]


def test_the_layout_holds_every_mean(planted: tuple[Path, pd.DataFrame, Robustness]) -> None:
    scores = {"a": np.array([[1.0, 3.0], [2.0, 4.0]]), "b": np.array([[5.0], [np.nan]])}
    cells = cells_of(Kind("eff+ood", planted[1].head(2), scores))
    assert cells.mean.tolist() == [2.0, 3.0, 5.0]
    assert cells.run.tolist() == [0, 1, 0]
    assert cells.collection.tolist() == [0, 0, 1]


def test_command_writes_record_and_tables(
    planted: tuple[Path, pd.DataFrame, Robustness], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, tables = tmp_path / "robustness.json", tmp_path / "tables"
    options = ["--runs", str(planted[0]), "--bootstrap", "200", "--out", str(out), "--tables", str(tables)]
    assert main(["robustness", *options]) == 0
    said = capsys.readouterr().out
    assert "Shares of the variance" in said
    assert "strategy=adversarial lowers ood contrastive entropy" in said
    record = Robustness.load(out)
    assert json.loads(out.read_text())["source"]["n_runs"] == 18
    effects = pd.read_csv(tables / "robustness-effects.csv")
    assert len(effects) == sum(len(kind.mixed.effects) for kind in record.kinds if kind.mixed)
    assert {path.stem for path in tables.iterdir()} == {
        f"robustness-{name}" for name in ("effects", "variance-shares", "differences", "wins")
    }
