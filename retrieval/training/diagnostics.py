"""Named failure signatures of a finished training (DESIGN §3), for ``warnings`` in ``result.json``.

Each has a code of the registry, which gives the remedy, and a message with the numbers of this run.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.codes import Finding, finding
from retrieval.training.omega.controller import OmegaController
from retrieval.training.omega.target import Target

SETTLED_SHARE = 0.5
"""The later share of a run, in which ω should have found its place."""

LEAST_POINTS = 6
"""Logged steps below which nothing is said about the course of ω."""

SWING = 0.05
"""Median change of ω between logged steps from which turning back and forth is an oscillation: noise of
the losses alone moves ω by some 0.01."""

TURNS = 0.5
SATURATED_SHARE = 0.5
BOUND_TOLERANCE = 1e-3

RATIO_TOLERANCE = math.log(1.25)
"""How far R/E by training losses may be from R/E by dev contrastive entropy."""

LEAST_RECALIBRATIONS = 4
FRONTIER_TOLERANCE = 0.01
CHANCE_TOLERANCE = 0.005


def diagnose(
    control: OmegaController | None, lines: Sequence[Mapping[str, Any]], result: Mapping[str, Any]
) -> list[Finding]:
    """Warnings of a finished run: ``{"code", "message", "remedy"}`` each.

    ``control``: of ω, where the strategy has one; ``lines``: of ``metrics.jsonl``; ``result``: what is
    measured so far, without it there is no word about the frontier.
    """
    findings: list[tuple[str, str | None]] = [("AT_CHANCE_LEVEL", chance_level(result))]
    if control is not None:
        findings += _of_omega(control, lines, result)
    return [finding(code, message) for code, message in findings if message is not None]


def without_consequences(findings: Sequence[Finding]) -> list[Finding]:
    """Leave out AT_CHANCE_LEVEL where constant scores of the same set, which say why, are named."""
    constant = any(
        found["code"] == "CONSTANT_SCORES" and found["message"].startswith("eff ") for found in findings
    )
    return [found for found in findings if not (constant and found["code"] == "AT_CHANCE_LEVEL")]


def _of_omega(
    control: OmegaController, lines: Sequence[Mapping[str, Any]], result: Mapping[str, Any]
) -> Iterator[tuple[str, str | None]]:
    omegas = np.array([line["train/omega"] for line in lines if line.get("train/omega") is not None])
    late = omegas[len(omegas) - round(SETTLED_SHARE * len(omegas)) :]
    if (control.rule.moves or control.rule.by_gradients) and len(omegas) >= LEAST_POINTS:
        yield "OMEGA_OSCILLATES", oscillation(late)
        yield "OMEGA_SATURATED", saturation(late, control.bounds)
    yield from control.rule.findings()
    yield "PROXY_DIVERGED", divergence(control.ratios().numpy())
    yield "FRONTIER_NOT_REACHED", distance_to_front(control.target, result)


def chance_level(result: Mapping[str, Any]) -> str | None:
    """In-domain contrastive entropy is that of constant scores, ln(W + 1), or above."""
    entropy, negatives = result.get("eff/contrastive_entropy"), result.get("eval/negatives")
    if entropy is None or negatives is None:
        return None
    chance = math.log(negatives + 1)
    if entropy < chance * (1 - CHANCE_TOLERANCE):
        return None
    return f"eff/contrastive_entropy {entropy:.3f} is that of an encoder that knows nothing, {chance:.3f}"


def oscillation(omegas: NDArray[np.float64]) -> str | None:
    """``omegas[k]`` turns back at half of its steps or more, and these are no small ones."""
    moves = np.diff(omegas)
    moves = moves[moves != 0]
    if len(moves) < 2:
        return None
    turns = float(np.mean(moves[1:] * moves[:-1] < 0))
    swing = float(np.median(np.abs(moves)))
    if turns < TURNS or swing < SWING:
        return None
    return (
        f"in the later half of the run ω turned back at {turns:.0%} of the logged steps, by {swing:.2f} at "
        "the median"
    )


def saturation(omegas: NDArray[np.float64], bounds: tuple[float, float]) -> str | None:
    """``omegas[k]`` lies at one of its bounds for half of the time or more."""
    for bound in bounds:
        share = float(np.mean(np.abs(omegas - bound) <= BOUND_TOLERANCE))
        if share >= SATURATED_SHARE:
            return (
                f"in the later half of the run ω was at its bound {bound:g} for {share:.0%} of the logged "
                "steps"
            )
    return None


def divergence(ratios: NDArray[np.float64]) -> str | None:
    """``ratios[2, k]``, ln(R/E) by training losses and by dev contrastive entropy, disagree."""
    if not ratios.shape[1]:
        return None
    by_losses, by_entropy = ratios[:, -1].tolist()
    if abs(by_losses - by_entropy) > RATIO_TOLERANCE:
        return (
            f"R/E is {math.exp(by_losses):.2f} by training losses and {math.exp(by_entropy):.2f} by "
            f"contrastive entropy on dev pairs"
        )
    if ratios.shape[1] >= LEAST_RECALIBRATIONS and ratios.std(axis=1).min() > 0:
        correlation = float(np.asarray(np.corrcoef(ratios))[0, 1])
        if correlation < 0:
            return (
                f"over {ratios.shape[1]} recalibrations R/E by training losses and by contrastive entropy "
                f"on dev pairs moved against each other (correlation {correlation:.2f})"
            )
    return None


def distance_to_front(target: Target, result: Mapping[str, Any]) -> str | None:
    """A point of the target's frontier is better than ``result`` in both metrics, by more than 1 %."""
    values = [result.get(name) for name in target.metrics]
    ours = [float(value) for value in values if value is not None]
    if len(ours) < 2:
        return None
    for point in target.front:
        if all(mine > best * (1 + FRONTIER_TOLERANCE) for mine, best in zip(ours, point, strict=True)):
            x, y = target.metrics
            return (
                f"{x} {ours[0]:.4f} and {y} {ours[1]:.4f} are both worse than ({point[0]:.4f}, "
                f"{point[1]:.4f}), a point of {target.source}"
            )
    return None
