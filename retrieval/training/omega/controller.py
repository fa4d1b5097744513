"""Control of ω: the state, and the rule that moves it after every step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from retrieval.config import StrategyConfig
from retrieval.config.strategy import RULES
from retrieval.training.omega.host_copy import HostCopy
from retrieval.training.omega.rule import Facts, Rule, chosen_rule
from retrieval.training.omega.state import OmegaState


class OmegaController(OmegaState):
    """Keeps ω and lets its rule move it after every step."""

    def __init__(self, config: StrategyConfig, facts: Facts) -> None:
        self.rule: Rule = RULES[chosen_rule(config, facts.where.get("dev", ()))](config, facts)
        # A fixed ω of 0 or 1 is a legitimate point of the curve; only moving rules are clipped.
        bounds = (config.omega_min, config.omega_max) if self.rule.moves else (0.0, 1.0)
        super().__init__(self.rule.start(), facts.target, config.decay, bounds)
        self.config, self.initial = config, float(self.omega)
        self._chooses: HostCopy | None = None
        """ω as it was when the latest step was chosen, of a rule that follows training losses."""

    def choose_by(self) -> float:
        """ω by which the loss of the next step is chosen with ``mixing=steps``; asked for once a step.

        Of a rule that follows training losses it is ω of a step ago, on every device: the latest ω waits for
        the step that the device computes, and the host goes on meanwhile.
        """
        if not self.rule.follows_losses:
            return float(self.omega)
        latest = HostCopy(self.omega)
        before, self._chooses = self._chooses or latest, latest
        return before.read()

    def backward(self, eff: Tensor, rob: Tensor, parameters: Sequence[nn.Parameter]) -> bool:
        """Let the rule compute the gradient of a step and so choose its ω; returns whether it did."""
        omega = self.rule.backward(eff, rob, parameters)
        if omega is not None:
            self.omega = omega
        return omega is not None

    def use_proxies(self, trial: Callable[[float, int], tuple[float, float]]) -> None:
        """Let the rule choose ω of the first step; see :meth:`Rule.use_proxies`."""
        self.rule.use_proxies(trial)
        self._move(self.rule.start())

    def update(self, eff: Tensor | None, rob: Tensor | None) -> None:
        """One step: take its losses, then the rule moves ω, then clipping.

        ``eff``, ``rob``: 0-d detached losses of this step, ``None`` where it measures none. The averages
        start at the first values.
        """
        self.observe(eff, rob)
        self._move(self.rule.after_step(self))

    def measure(self, step: int, eff: float, rob: float) -> None:
        """Take dev losses after ``step`` steps, NaN where not asked for, and let the rule move ω."""
        row = torch.tensor([[float(step), float(self.omega), eff, rob]], dtype=torch.float64)
        self.measured = torch.cat([self.measured, row])
        self._move(self.rule.after_measurement(self))

    def _move(self, omega: Tensor | float) -> None:
        self.omega = self.clipped(omega)

    def result(self) -> dict[str, Any]:
        """``omega/*`` keys of ``result.json``: rule, target and where ω started and ended."""
        return {
            "omega/rule": self.rule.name,
            "omega/robust": self.config.robust,
            "omega/eta": self.config.eta,
            "omega/initial": self.initial,
            "omega/final": float(self.omega),
            "omega/mean": float(self.total) / max(1, self.steps),
            "omega/target_ratio": self.target.ratio,
            "omega/target_eff": self.target.eff,
            "omega/target_rob": self.target.rob,
            "omega/target_source": self.target.source,
            "omega/target_group": self.target.group,
            **self.proxy(),
            **self.rule.result(),
        }

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        tensors = {name: getattr(self, name).detach().cpu() for name in self.STATE}
        chooses = None if self._chooses is None else self._chooses.read()
        return {**tensors, "steps": self.steps, "chooses": chooses, "rule": self.rule.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        for name in self.STATE:
            setattr(self, name, state[name].to(getattr(self, name).device))
        self.steps = int(state["steps"])
        chooses = state["chooses"]
        self._chooses = None if chooses is None else HostCopy(torch.tensor(chooses))
        self.rule.load_state_dict(state["rule"])
