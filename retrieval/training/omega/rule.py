"""What a rule of ω is. Each registers itself.

A rule's file imports PyTorch where it is needed, in functions: validation reads what a rule needs before
anything heavy is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from retrieval.config import DEFAULT_RULES, Config, StrategyConfig
from retrieval.config.registry import Registered
from retrieval.config.strategy import RULES, check_own_keys
from retrieval.errors import ConfigError
from retrieval.training.omega.target import Target

if TYPE_CHECKING:
    from torch import Tensor, nn, optim

    from retrieval.training.interpolation import Measure
    from retrieval.training.omega.state import OmegaState

AUTO = "auto"
"""Value of ``strategy.rule`` that leaves the choice to what else is given."""


@dataclass(frozen=True)
class Facts:
    """What a rule may know of its run beside its configuration."""

    target: Target
    where: Mapping[str, Any] = field(default_factory=dict)
    """``params_non_embedding`` (N), ``train_pairs`` (D), ``steps`` and ``batch_size`` of the run;
    ``dev``: ``eff`` and ``rob`` where there are dev pairs; ``init``: ``model.init``."""


class Rule(Registered, registry=RULES):
    """How ω moves. The controller keeps ω, the moving averages and the dev measurements; see there."""

    name: ClassVar[str]
    moves: ClassVar[bool] = True
    """Whether ω follows anything that happens in the run; such rules are clipped to ``omega_min``, …"""
    follows_losses: ClassVar[bool] = False
    """Whether ω follows the losses of training steps, and so stays on the model's device."""
    by_gradients: ClassVar[bool] = False
    """Whether the rule needs the gradients of both losses in every step, so ``mixing=loss``."""
    needs: ClassVar[Mapping[str, str]] = {}
    """Keys of ``strategy`` that have to be set, and to what."""
    owns: ClassVar[Mapping[str, Any]] = {}
    """Keys of ``strategy`` that no other rule reads, and their value where they are not set."""
    omega_from: ClassVar[str] = ""
    """What ω follows from where ``strategy.omega`` has no say; empty: it has one."""
    options: ClassVar[type[StrategyConfig] | None] = None
    """Schema of a rule with keys of its own; a YAML file of ``conf/strategy`` names it ``<name>_schema``."""
    measures: ClassVar[tuple[str, ...]] = ()
    """Dev losses that the rule asks for: ``eff``, ``rob``; every ``strategy.measure_every`` steps, unless one
    of the next two says otherwise."""
    acts_on_weights: ClassVar[bool] = False
    """Whether :meth:`before_training` and :meth:`change_weights` are called."""
    trains_proxies: ClassVar[bool] = False
    """Whether :meth:`use_proxies` is called before the first step, in place of other measurements."""

    def __init__(self, config: StrategyConfig, facts: Facts) -> None:
        self.config, self.facts = config, facts

    @classmethod
    def check(cls, cell: Config) -> None:
        """Refuse a configuration that the rule cannot work with.

        Raises:
            ConfigError: names the key, the bad value, the valid ones and, where it helps, the fix.
        """
        strategy = cell.strategy
        check_own_keys(strategy, cls)
        for key, wanted in cls.needs.items():
            if getattr(strategy, key) is None:
                raise ConfigError(f"strategy.rule={cls.name} needs strategy.{key}={wanted}")
        if cls.omega_from and strategy.omega is not None:
            raise ConfigError(
                f"strategy.omega={strategy.omega} would not be used: strategy.rule={cls.name} takes ω from "
                f"{cls.omega_from}"
            )
        for name, other in RULES.items():
            for key, default in other.owns.items():
                value = getattr(strategy, key)
                if key not in cls.owns and value != default:
                    raise ConfigError(
                        f"strategy.{key}={value} would not be used with strategy.rule={cls.name}; "
                        f"set strategy.rule={name}, or drop it"
                    )

    def start(self) -> float:
        """ω of the first step: as configured, or ω₀ = R*/(E* + R*)."""
        given = self.config.omega
        return self.facts.target.initial_omega if given is None else float(given)

    def use_proxies(self, trial: Callable[[float, int], tuple[float, float]]) -> None:
        """Choose :meth:`start` by ``trial(ω, repeat)``: E_dev and R_dev of a proxy trained with ω."""
        raise NotImplementedError

    def after_step(self, control: OmegaState) -> Tensor | float:
        """ω of the next step, before clipping; as it is unless a rule says otherwise."""
        return control.omega

    def after_measurement(self, control: OmegaState) -> Tensor | float:
        """ω after a measurement of dev losses, the newest row of ``control.measured``; before clipping."""
        return control.omega

    def backward(self, eff: Tensor, rob: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor | None:
        """Leave the gradient of a step in the parameters and return the ω that it has.

        Called in steps that compute both losses, 0-d.

        ``None``: the gradient is that of the loss weighted by the controller's ω, which is then computed.
        """
        return None

    def course(self, step: int, steps: int) -> tuple[int, int]:
        """Where a step stands in the schedule of the learning rate, and how long that is."""
        return step, steps

    def before_training(self, model: nn.Module) -> None:
        """See the weights before the first step of this process, where the rule acts on weights."""
        return

    def change_weights(
        self, step: int, model: nn.Module, optimizer: optim.Optimizer, measure: Measure
    ) -> None:
        """Act on the weights after ``step`` steps; ``measure`` gives E_dev and R_dev of the model."""
        return

    def result(self) -> dict[str, Any]:
        """What the rule adds to ``result.json``."""
        return {}

    def findings(self) -> list[tuple[str, str]]:
        """Codes and messages for the ``warnings`` of the run."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs beside the controller's state: numbers and tensors by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        for name, value in state.items():
            setattr(self, name, value)


def chosen_rule(strategy: StrategyConfig, dev: Collection[str]) -> str:
    """The rule of ω that ``strategy.rule`` stands for; ``dev``: sides with dev pairs."""
    if strategy.rule != AUTO:
        return strategy.rule
    given = (("law", strategy.mixture), ("dro", strategy.frontier), ("fixed", strategy.omega))
    named = next((rule for rule, value in given if value is not None), None)
    if named is not None or strategy.robust != "ood":
        # Perturbed passages are those of in-domain pairs: that a pair is repeated says nothing about them.
        return named or "dro"
    possible = (name for name in DEFAULT_RULES if set(RULES[name].measures) <= set(dev))
    return next(n for n in possible if strategy.mixing == "steps" or not RULES[n].trains_proxies)
