"""Control of ω, the weight of the robustness loss: target, controller, and the rules that move ω."""

from __future__ import annotations

from retrieval.training.omega import rules
from retrieval.training.omega.controller import OmegaController
from retrieval.training.omega.rule import RULES, Facts, Rule
from retrieval.training.omega.target import Target, load_target

__all__ = ["RULES", "Facts", "OmegaController", "Rule", "Target", "load_target", "rules"]
