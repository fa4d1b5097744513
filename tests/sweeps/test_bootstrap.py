"""Cluster bootstrap: what is drawn, what is discarded, and that draws are shared between fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from law_tables import COLUMNS, law_table

from sweeps.fitting.bootstrap import _distinct, _draw, _slots, bootstrap
from sweeps.fitting.fit import fit_law, prepare_fit
from sweeps.fitting.result import FitOptions

QUICK = FitOptions(bootstrap=0, starts=50)


def prepared(table, law="joint", options=QUICK):
    return prepare_fit(table, law, "y", COLUMNS, options, compare_forms=False)


def test_every_draw_has_as_many_rows_as_the_table_and_whole_configurations() -> None:
    fit = prepared(law_table(seeds=3, seed_sd=0.01)).fitted()
    slots, owners = _slots([fit])
    draws, discarded = _draw([fit], slots, owners, 50, np.random.default_rng(0))
    assert draws.shape == (50, 90)
    assert (draws.sum(axis=1) == 90).all()
    by_configuration = np.stack([draws[:, owners == cluster].sum(axis=1) for cluster in range(30)], axis=1)
    assert (by_configuration % 3 == 0).all()
    assert by_configuration.max() > 3
    assert discarded == 0


def test_draws_with_fewer_than_three_levels_are_discarded() -> None:
    fit = prepared(law_table(sizes=[1e6, 4e6, 2e7], pairs=[1e4, 3e4, 1e5], seed_sd=0.01)).fitted()
    slots, owners = _slots([fit])
    draws, discarded = _draw([fit], slots, owners, 200, np.random.default_rng(0))
    drawn = draws[:, slots[0]] > 0
    levels = np.unique(fit.runs.n, return_inverse=True)[1]
    assert len(draws) == 200
    assert (_distinct(drawn, levels) == 3).all()
    assert (drawn.sum(axis=1) >= 5).all()
    assert discarded > 0


def test_two_fits_of_the_same_runs_share_their_draws() -> None:
    table = law_table(seeds=2, seed_sd=0.02)
    first = prepared(table)
    shifted = prepared(table.assign(y=table["y"] * 1.5))
    sample = bootstrap([first.fitted(), shifted.fitted()], 40, seed=1)
    # Multiplying the metric leaves the exponents of the form and multiplies the floor, draw by draw.
    assert sample.params[1][:, 1] == pytest.approx(sample.params[0][:, 1], rel=1e-3)
    assert sample.params[1][:, 4] == pytest.approx(1.5 * sample.params[0][:, 4], rel=1e-2, abs=1e-4)
    alone = bootstrap([first.fitted()], 40, seed=1)
    assert np.array_equal(alone.params[0], sample.params[0])


def test_tables_with_different_configurations_can_be_paired() -> None:
    table = law_table(seeds=2, seed_sd=0.02)
    part = table[table["N"] > 5e5]
    fits = [prepared(table).fitted(), prepared(part).fitted()]
    slots, _ = _slots(fits)
    shared = set(slots[0]) & set(slots[1])
    assert len(shared) == len(part)
    sample = bootstrap(fits, 30, seed=0)
    assert [len(params) for params in sample.params] == [30, 30]


def test_progress_reaches_the_end() -> None:
    seen: list[tuple[int, int]] = []
    fit = prepared(law_table(seed_sd=0.02)).fitted()
    bootstrap([fit, fit], 300, seed=0, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (600, 600)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = prepared(law_table(seed_sd=0.02)).fitted()
    whole = bootstrap([fit], 40, seed=0).params[0]
    monkeypatch.setattr("sweeps.fitting.bootstrap._CHUNK", 7)
    assert bootstrap([fit], 40, seed=0).params[0] == pytest.approx(whole, rel=1e-9)


def test_seeds_as_points_draw_rows_apart() -> None:
    fit = prepared(law_table(seeds=2, seed_sd=0.02), options=replace(QUICK, unit="run")).fitted()
    _, owners = _slots([fit])
    assert len(np.unique(owners)) == 60


def test_spread_of_replicates_matches_the_standard_error() -> None:
    table = law_table(seed_sd=0.02, seeds=2)
    fit = fit_law(table, metric="y", columns=COLUMNS, options=FitOptions(bootstrap=400), compare_forms=False)
    assert fit.bootstrap is not None
    spread = np.log(fit.bootstrap.params[:, 0]).std()
    assert spread == pytest.approx(np.sqrt(fit.covariance[0, 0]), rel=0.4)
