"""What ω control remembers: ω, the moving averages of both losses, and what dev pairs said."""

import math

import torch
from torch import Tensor

from retrieval.training.omega.target import Target


class OmegaState:
    """ω, the averages Ē and R̄ of the two training losses, and their distance.

    All are 0-d fp32 tensors, on the model's device where they follow from its losses: ω of a rule that does
    not look at them stays with the host, which reads it at every step. A recalibration measures both losses
    on dev pairs of the training domains and scales the averages by what it finds; a measurement, which some
    rules ask for, is of dev pairs and of robust-dev domains.
    """

    STATE = (
        "omega", "total", "mean_eff", "mean_rob", "distance", "scale_eff", "scale_rob", "history", "measured",
    )  # fmt: skip
    ON_HOST = ("omega", "total", "history", "measured")

    def __init__(self, omega: float, target: Target, decay: float, bounds: tuple[float, float]) -> None:
        self.target, self.decay, self.bounds = target, decay, bounds
        self.steps = 0
        """Optimisation steps done."""
        self.omega = self.clipped(omega)
        self.total = torch.tensor(0.0, dtype=torch.float64)
        """Sum of ω over the steps done."""
        self.mean_eff = torch.tensor(float("nan"))
        self.mean_rob = torch.tensor(float("nan"))
        self.distance = torch.tensor(0.0)
        self.scale_eff = torch.tensor(1.0)
        self.scale_rob = torch.tensor(1.0)
        self.history = torch.empty(0, 5, dtype=torch.float64)
        """Recalibrations, float64[k, 5]: step, Ē, R̄, contrastive entropy of both on dev pairs."""
        self.measured = torch.empty(0, 4, dtype=torch.float64)
        """Measurements, float64[k, 4]: step, ω before it, E_dev, R_dev; NaN where not asked for."""

    def clipped(self, omega: Tensor | float) -> Tensor:
        """``omega`` within the bounds, 0-d fp32."""
        value = omega if isinstance(omega, Tensor) else torch.tensor(float(omega))
        return value.float().clamp(*self.bounds)

    def to(self, device: torch.device) -> None:
        """Move what follows from losses to the model's device; what is measured on dev pairs stays."""
        if device.type == "mps":  # which has no fp64, and the sum moves there with ω
            self.total = self.total.float()
        for name in self.STATE:
            if name not in self.ON_HOST:
                setattr(self, name, getattr(self, name).to(device))

    def observe(self, eff: Tensor | None, rob: Tensor | None) -> None:
        """Take the losses of one step: the averages, and ``d = R̄/R* − Ē/E*``; 0 until both have one."""
        self.steps += 1
        self.total = self.total + self.omega
        if eff is not None:
            self.mean_eff = self._average(self.mean_eff, eff)
        if rob is not None:
            self.mean_rob = self._average(self.mean_rob, rob)
        rob_share = self.scale_rob * self.mean_rob / self.target.rob
        distance = rob_share - self.scale_eff * self.mean_eff / self.target.eff
        self.distance = torch.where(torch.isnan(self.mean_eff + self.mean_rob), 0.0, distance)

    def recalibrate(self, step: int, eff: Tensor, rob: Tensor) -> None:
        """Scale the averages to the contrastive entropies measured at ``step`` (0-d)."""
        measured = [self.mean_eff, self.mean_rob, eff, rob]
        row = torch.tensor([[float(step), *(float(value) for value in measured)]], dtype=torch.float64)
        self.history = torch.cat([self.history, row])
        # A loss that no step has measured yet has no average to scale.
        self.scale_eff, self.scale_rob = (
            torch.where(torch.isnan(mean), scale, found / mean)
            for scale, found, mean in (
                (self.scale_eff, eff, self.mean_eff),
                (self.scale_rob, rob, self.mean_rob),
            )
        )

    def _average(self, mean: Tensor, value: Tensor) -> Tensor:
        value = value.detach().float()
        return torch.where(torch.isnan(mean), value, self.decay * mean + (1 - self.decay) * value)

    def logged(self) -> dict[str, float]:
        """For ``metrics.jsonl``: ω, its distance, and the latest dev losses if there were any."""
        values = {"train/omega": float(self.omega), "train/omega_distance": float(self.distance)}
        for rows, name in ((self.history, "contrastive_entropy"), (self.measured, "dev_loss")):
            if len(rows):
                found = zip(("eff", "rob"), rows[-1, -2:].tolist(), strict=True)
                values |= {f"val/{side}_{name}": value for side, value in found if not math.isnan(value)}
        return values

    def ratios(self) -> Tensor:
        """ln(R/E) by training losses and by dev contrastive entropy at each recalibration: ``[2, k]``."""
        logarithms = self.history[:, 1:].log()
        found = torch.stack([logarithms[:, 1] - logarithms[:, 0], logarithms[:, 3] - logarithms[:, 2]])
        return found[:, ~found.isnan().any(dim=0)]

    def proxy(self) -> dict[str, float]:
        """For ``result.json``: correlation of the two ratios over three recalibrations or more."""
        ratios = self.ratios()
        if ratios.shape[1] < 3:
            return {}
        correlation = float(torch.corrcoef(ratios)[0, 1])
        return {"omega/proxy_correlation": correlation} if math.isfinite(correlation) else {}
