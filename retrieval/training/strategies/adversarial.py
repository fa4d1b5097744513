"""``adversarial``: half of the training on passages that are perturbed against the model in training."""

from types import MappingProxyType

from retrieval.training.strategies.standard import Standard
from retrieval.training.strategy import PERTURBED


class Adversarial(Standard):
    """``½·L(x) + ½·L(x + δ)``: a fixed weight of the perturbed loss (arXiv 2301.10576).

    With ``strategy.mixing=steps`` every second step is one on perturbed passages.
    """

    name = "adversarial"
    reads = frozenset({"mixing", "budget", "perturbation"})
    rob = MappingProxyType({PERTURBED: 1.0})
