"""``proxy``: the ω that is best for small models which are trained before the run."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.config import Config, StrategyConfig
from retrieval.errors import ConfigError
from retrieval.training.omega.rule import Facts, Rule

Floats = NDArray[np.float64]

OMEGAS = (0.1, 0.3, 0.75)
"""ω of the proxies beside 0, evenly spaced in √ω."""

REPEATS = 3
"""Proxies of each ω."""

ERRORS = 2.0
"""Standard errors that a smaller ω may be worse by."""

MOST = 0.9
"""Largest ω that is chosen: beyond the largest that was tried the parabola is a guess."""


class Proxy(Rule):
    """``ω = argmin_ω E(ω) + R(ω)``, with E and R the dev losses of proxies that were trained before the run.

    The proxies are :class:`retrieval.training.proxy.Proxies`. The change of E + R from ω = 0 to ω is taken
    for b·√ω + c·ω, fitted by least squares to each repeat. ω is the smallest one up to .9 whose mean is above
    the least by no more than two standard errors of the difference, over the repeats: where nothing is gained
    beyond noise, the run is its base strategy. (The rule of Breiman et al. 1984, §3.4.3, for the size of a
    tree, with errors of the paired difference.)

    This project's own rule, after the proxies of DoReMi (Xie et al. 2023, arXiv 2305.10429), which weighs
    domains by training losses. It assumes that the proxies rank mixtures as the run's model does, and that
    robust-dev domains stand for the unknown ones.
    """

    name = "proxy"
    moves = False
    measures = ("eff", "rob")
    trains_proxies = True
    omega_from = "proxies"

    def __init__(self, config: StrategyConfig, facts: Facts) -> None:
        super().__init__(config, facts)
        self.chosen = 0.0
        self.losses: list[list[list[float]]] = []
        """E_dev and R_dev of the proxies ``[repeat][ω][2]``, ω = 0 first."""

    @classmethod
    def check(cls, cell: Config) -> None:
        """Proxies take robust steps on other domains, and know neither perturbations nor weighted losses."""
        super().check(cell)
        for key, only in (("robust", "ood"), ("mixing", "steps")):
            value = getattr(cell.strategy, key)
            if value != only:
                raise ConfigError(
                    f"strategy.rule=proxy works with strategy.{key}={only}, not with {value}; choose "
                    "strategy.rule=dro or fixed"
                )

    def use_proxies(self, trial: Callable[[float, int], tuple[float, float]]) -> None:
        """Train the proxies and choose ω."""
        self.losses = [[list(trial(omega, repeat)) for omega in (0.0, *OMEGAS)] for repeat in range(REPEATS)]
        self.chosen = choose(self.changes().sum(axis=2))

    def changes(self) -> Floats:
        """Dev losses less those of ω = 0: float64[repeat, ω, 2]."""
        losses = np.array(self.losses, dtype=np.float64)
        difference: Floats = losses[:, 1:] - losses[:, :1]
        return difference

    def start(self) -> float:
        """The chosen ω; 0 before the proxies were trained."""
        return self.chosen

    def result(self) -> dict[str, Any]:
        """The chosen ω and what the proxies say that it changes."""
        eff, rob = (self.at_best(self.changes()[:, :, place])[0] for place in (0, 1))
        return {"omega/initial": self.chosen, "omega/proxy_eff": eff, "omega/proxy_rob": rob}

    def at_best(self, changes: Floats) -> tuple[float, float]:
        """Mean change of a loss and its standard error, at the chosen ω or, where that is 0, at the best."""
        if self.chosen:
            values = along(changes, np.array([self.chosen]))[:, 0]
        else:
            values = changes[:, int(np.argmin(self.changes().sum(axis=2).mean(axis=0)))]
        return float(values.mean()), float(error(values))

    def findings(self) -> list[tuple[str, str]]:
        """That the robustness data are of no help here."""
        mean, spread = self.at_best(self.changes()[:, :, 1])
        if mean + spread < 0:
            return super().findings()
        message = (
            f"robust steps change the robust-dev loss of the proxies by {mean:+.3f} ± {spread:.3f} nats "
            f"({REPEATS} proxies of each ω, standard error); ω is {self.chosen:g}"
        )
        return [("ROBUST_DATA_NO_HELP", message)]

    def state_dict(self) -> dict[str, Any]:
        """What the proxies said."""
        return {"chosen": self.chosen, "losses": self.losses}


def choose(changes: Floats) -> float:
    """The smallest ω, to two digits, that is worse than the best by two standard errors at most.

    ``changes``: loss less that of ω = 0, float64[repeat, ω] for the ω of ``OMEGAS``.
    """
    tried = np.linspace(0, MOST, 1 + round(100 * MOST))
    expected = along(changes, tried)
    best = int(np.argmin(expected.mean(axis=0)))
    worse = expected - expected[:, [best]]
    near = worse.mean(axis=0) <= ERRORS * error(worse)
    return round(float(tried[np.argmax(near)]), 2)


def along(changes: Floats, omegas: Floats) -> Floats:
    """``b·√ω + c·ω`` at ``omegas[k]``, by least squares in each repeat: float64[repeat, k]."""
    tried = np.array(OMEGAS)
    found = np.linalg.lstsq(np.stack([np.sqrt(tried), tried], axis=1), changes.T, rcond=None)[0]
    curves: Floats = found.T @ np.stack([np.sqrt(omegas), omegas])
    return curves


def error(values: Floats) -> Floats:
    """Standard error of the mean over the repeats, the first axis."""
    spread: Floats = values.std(axis=0, ddof=1) / len(values) ** 0.5
    return spread
