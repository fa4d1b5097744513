"""``law``: the ω that a mixture law predicts for this N and D."""

from pathlib import Path
from types import MappingProxyType
from typing import Any

from retrieval.config import StrategyConfig
from retrieval.training.mixture_file import load_mixture
from retrieval.training.omega.rule import Facts, Rule


class Law(Rule):
    """``ω = ω*(N, D)`` of ``strategy.mixture``, a file of ``python -m sweeps mixture``.

    The law is fitted to dev metrics of runs at fixed ω, mostly of smaller cells (data-mixing laws, Ye et al.
    2024, arXiv 2403.16952). ``strategy.goal`` chooses the optimum: ``knee`` (least sum of both objectives),
    ``eff`` or ``rob``. It assumes that the law holds for this cell: the training is as long, the batch as
    large, the base and the robustness objective are the same, which is checked.

    Raises:
        ConfigError: the file cannot be used, or was fitted for another kind of training.
    """

    name = "law"
    moves = False
    needs = MappingProxyType(
        {"mixture": "FILE; write one with `python -m sweeps mixture --out mixture.json`"}
    )
    owns = MappingProxyType({"mixture": None})
    omega_from = "strategy.mixture"

    def __init__(self, config: StrategyConfig, facts: Facts) -> None:
        super().__init__(config, facts)
        where = facts.where
        assert config.mixture is not None
        law = load_mixture(Path(config.mixture))
        law.check(where["steps"], where["batch_size"], config.robust, config.base, config.mixing)
        sizes = float(where["params_non_embedding"]), float(where["train_pairs"])
        self.omega, self.low, self.high = law.omega(config.goal, *sizes)
        self.extrapolation = law.extrapolation(config.goal, *sizes)

    def start(self) -> float:
        """The predicted ω."""
        return self.omega

    def result(self) -> dict[str, Any]:
        """The interval of the prediction."""
        ends = {"omega/law_low": self.low, "omega/law_high": self.high}
        return {"omega/goal": self.config.goal, **ends}

    def findings(self) -> list[tuple[str, str]]:
        """Whether the law was asked far beyond what it was fitted on."""
        if self.extrapolation is None:
            return []
        return [("OMEGA_EXTRAPOLATED", self.extrapolation)]
