"""``repeats``: half of the steps that would only repeat in-domain pairs go to the robustness data."""

from typing import Any

from retrieval.training.omega.rule import Rule

SHARE = 0.5
"""Share of the repeated steps that are given away."""


class Repeats(Rule):
    """``ω = ½·(1 − D/S)``, 0 where S ≤ D; D in-domain pairs, S = steps × batch size pairs of the training.

    In S pairs of a training S − D are repeats, and a repeated pair teaches less than a new one (Muennighoff
    et al. 2023, arXiv 2305.16264, for language models). The first pass is left to the in-domain pairs; of
    what would come after it, each objective gets half. ω is known before the first step, so the robustness
    data come while the learning rate is high; a rule that waits until pairs are memorised brings them too
    late (docs/logbook). This project's own rule: nothing to tune, nothing to measure. It assumes that the
    robustness data are near enough to the unknown domains to teach anything about them.
    """

    name = "repeats"
    moves = False
    omega_from = "the number of pairs"

    def start(self) -> float:
        """The share of ω, from D and S alone."""
        return SHARE * max(0.0, 1.0 - 1.0 / self._passes)

    @property
    def _passes(self) -> float:
        """S/D."""
        where = self.facts.where
        return float(where["steps"]) * float(where["batch_size"]) / float(where["train_pairs"])

    def result(self) -> dict[str, Any]:
        """Passes over the in-domain pairs that ``standard`` would make."""
        return {"omega/passes": self._passes}

    def findings(self) -> list[tuple[str, str]]:
        """That nothing is repeated."""
        if self._passes > 1:
            return []
        where = self.facts.where
        message = (
            f"{where['steps']} steps of {where['batch_size']} pairs repeat none of {where['train_pairs']} "
            "in-domain pairs, so ω is 0 and the run is its base strategy"
        )
        return [("OMEGA_ZERO", message)]
