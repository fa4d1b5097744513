"""``pareto``: (1 − ω)·L_eff + ω·L_rob with a controlled ω (arXiv 2505.24279)."""

from __future__ import annotations

from typing import Any

from retrieval.config import StrategyConfig
from retrieval.data.batches import Batch, Stream
from retrieval.errors import ConfigError
from retrieval.models.encoder import DualEncoder
from retrieval.training.omega import OmegaController, load_target
from retrieval.training.strategies.base import (
    EFF,
    ROB,
    Losses,
    Strategy,
    TrainingData,
    block_loss,
)


class Pareto(Strategy):
    """Ranking loss on in-domain pairs and on pairs of the robust-training domains, weighted by ω."""

    name = "pareto"

    def __init__(self, config: StrategyConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.controller = OmegaController(config, load_target(config.frontier))
        self.initial_omega = float(self.controller.omega)

    @property
    def base_name(self) -> str:
        """The strategy of the effectiveness loss."""
        return self.config.base

    def streams(self, data: TrainingData, batch_size: int) -> tuple[Stream, ...]:
        """``budget=equal`` splits the baseline's pairs between the losses, ``extra`` adds robust pairs.

        Raises:
            ConfigError: the suite has no robust-training domain.
        """
        if not data.robust:
            raise ConfigError(
                "strategy=pareto needs robust-training domains and data.robust is empty; name some, "
                "or use strategy=standard"
            )
        equal = self.config.budget == "equal"
        robust = batch_size // 2 if equal else batch_size
        in_domain = batch_size - robust if equal else batch_size
        return (
            Stream(EFF, (data.in_domain,), in_domain, key=0),
            Stream(ROB, data.robust, robust, key=1),
        )

    def losses(self, encoder: DualEncoder, batch: Batch) -> Losses:
        """Both terms from one pass over all sequences of the step."""
        vectors = encoder(batch.tokens)
        eff, rob = block_loss(vectors, batch, EFF), block_loss(vectors, batch, ROB)
        omega = self.controller.omega
        return Losses(total=(1 - omega) * eff + omega * rob, eff=eff, rob=rob)

    def result(self) -> dict[str, Any]:
        """``omega/*`` keys: rule, target and where ω started and ended."""
        target = self.controller.target
        return {
            "omega/rule": self.config.rule,
            "omega/robust": self.config.robust,
            "omega/eta": self.config.eta,
            "omega/initial": self.initial_omega,
            "omega/final": float(self.controller.omega),
            "omega/target_ratio": target.ratio,
            "omega/target_source": target.source,
        }
