"""Does a 95 % interval hold the truth 95 % of the time? Simulated sweeps with a known law answer it.

A configuration deviates from the law by more than its seeds show (learning rate, data order of the subset,
width against depth), so a design has two noises: one drawn per configuration, one per run.

  python -m benchmarks.coverage --published fang2024-msmarco-model --configuration-sd 0.03 --out coverage.csv
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.published import PUBLISHED
from retrieval.errors import ConfigError
from retrieval.run.funnel import exit_status
from sweeps.fitting.fit import fit_law
from sweeps.fitting.laws import get_law
from sweeps.fitting.points import Columns
from sweeps.fitting.result import FitOptions, FitResult
from sweeps.table.files import write_table

METHODS = ("profile", "profile-runs", "bootstrap", "bootstrap-runs")
"""Profile likelihood or bootstrap; on configurations, or (``-runs``) with seeds as independent points."""

_COLUMNS = Columns("N", "D")


@dataclass(frozen=True)
class Design:
    """A sweep to simulate."""

    law: str
    params: dict[str, float]
    sizes: tuple[float, ...]
    """Model sizes N."""
    pairs: tuple[float, ...]
    """Training pairs D, crossed with the sizes."""
    seeds: int
    configuration_sd: float
    """Standard deviation of ln metric between configurations, beyond the law and the seeds."""
    seed_sd: float
    """Standard deviation of ln metric between seeds."""

    def table(self, generator: np.random.Generator) -> pd.DataFrame:
        """One simulated sweep: columns ``N, D, seed, y``."""
        n, d = (grid.ravel() for grid in np.meshgrid(self.sizes, self.pairs, indexing="ij"))
        truth = np.log(get_law(self.law).predict(self.params, n, d))
        truth = truth + self.configuration_sd * generator.standard_normal(len(n))
        logs = np.repeat(truth, self.seeds) + self.seed_sd * generator.standard_normal(len(n) * self.seeds)
        seeds = np.tile(np.arange(self.seeds), len(n))
        columns = {
            "N": np.repeat(n, self.seeds),
            "D": np.repeat(d, self.seeds),
            "seed": seeds,
            "y": np.exp(logs),
        }
        return pd.DataFrame(columns)


def crossed(
    published: str,
    sizes: int,
    fractions: int,
    seeds: int,
    size_range: str,
    pairs_range: str,
    configuration_sd: float,
    seed_sd: float,
) -> Design:
    """Log-spaced sizes crossed with log-spaced pairs; forms in N alone get the largest D, and vice versa.

    Ranges are ``smallest,largest``. Raises ConfigError when they are not two rising positive numbers.
    """
    law, params = PUBLISHED[published]
    axes = get_law(law).axes
    grids = []
    for axis, text, count in (("N", size_range, sizes), ("D", pairs_range, fractions)):
        try:
            low, high = (float(part) for part in text.split(","))
        except ValueError:
            low, high = 0.0, 0.0
        if not 0 < low < high:
            raise ConfigError(f"range {text!r} of {axis}: expected smallest,largest such as 4e5,8.6e7")
        grid = np.geomspace(low, high, count)
        grids.append(tuple(map(float, grid if axis in axes else grid[-1:])))
    return Design(law, params, grids[0], grids[1], seeds, configuration_sd, seed_sd)


def covered(design: Design, methods: Sequence[str], draws: int, seed: int) -> dict[str, dict[str, bool]]:
    """For one simulated sweep: method -> parameter -> whether its 95 % interval holds the truth."""
    table = design.table(np.random.default_rng([seed]))
    result: dict[str, dict[str, bool]] = {}
    for unit, suffix in (("configuration", ""), ("run", "-runs")):
        wanted = {kind for kind in ("profile", "bootstrap") if kind + suffix in methods}
        if not wanted:
            continue
        options = FitOptions(starts=50, bootstrap=draws if "bootstrap" in wanted else 0)
        options = replace(options, unit="run") if unit == "run" else options
        fit = fit_law(
            table, law=design.law, metric="y", columns=_COLUMNS, options=options, compare_forms=False
        )
        for kind in wanted:
            result[kind + suffix] = _holds(fit, kind, design.params)
    return result


def _holds(fit: FitResult, kind: str, truth: dict[str, float]) -> dict[str, bool]:
    drawn = fit.bootstrap.intervals if fit.bootstrap else {}
    intervals = fit.intervals if kind == "profile" else drawn
    found = {}
    for name, value in truth.items():
        low, high = intervals.get(name, (np.inf, np.inf))
        found[name] = (low is None or low <= value) and (high is None or value <= high)
    return found


def coverage(
    design: Design,
    simulations: int = 200,
    methods: Sequence[str] = METHODS,
    draws: int = 400,
    processes: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Share of simulated sweeps whose 95 % interval holds the truth: rows methods, columns parameters.

    Every simulation has its own seed, so the number of ``processes`` does not change the result.
    """
    one = partial(covered, design, tuple(methods), draws)
    seeds = [seed * 1_000_003 + index for index in range(simulations)]
    results: Iterable[dict[str, dict[str, bool]]]
    if processes > 1:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            results = list(pool.map(one, seeds, chunksize=max(1, simulations // (8 * processes))))
    else:
        results = [one(item) for item in seeds]
    rows = {
        method: {name: np.mean([item[method][name] for item in results]) for name in design.params}
        for method in methods
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(design.params))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser("python -m benchmarks.coverage", description=__doc__)
    law = "fang2024-msmarco-joint"
    parser.add_argument(
        "--published", default=law, choices=PUBLISHED, metavar="LAW", help="see docs/fitting.md"
    )
    parser.add_argument("--sizes", type=int, default=5, help="model sizes")
    parser.add_argument("--fractions", type=int, default=5, help="data sizes")
    parser.add_argument("--seeds", type=int, default=3, help="seeds a configuration")
    parser.add_argument("--size-range", default="4e5,8.6e7", help="smallest,largest N")
    parser.add_argument("--pairs-range", default="2e4,5e5", help="smallest,largest D")
    parser.add_argument("--configuration-sd", type=float, default=0.03, help="of ln metric")
    parser.add_argument("--seed-sd", type=float, default=0.01, help="of ln metric")
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--bootstrap", type=int, default=400, help="draws; 0 skips it")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="CSV file to write")
    given = parser.parse_args(arguments)
    return exit_status(lambda: _run(given))


def _run(given: argparse.Namespace) -> None:
    ranges, noise = (given.size_range, given.pairs_range), (given.configuration_sd, given.seed_sd)
    design = crossed(given.published, given.sizes, given.fractions, given.seeds, *ranges, *noise)
    methods = [method for method in METHODS if given.bootstrap or not method.startswith("bootstrap")]
    shares = coverage(design, given.simulations, methods, given.bootstrap, given.processes, given.seed)
    print(f"{given.simulations} sweeps of {given.published}: share of 95 % intervals that hold the truth")
    print(shares.to_string(float_format="{:.3f}".format))
    if given.out is not None:
        write_table(shares.rename_axis("interval").reset_index(), given.out)


if __name__ == "__main__":
    sys.exit(main())
