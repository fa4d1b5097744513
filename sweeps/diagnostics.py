"""Stable codes for everything that can be wrong with a fit: name, severity, sentence, what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Diagnostic:
    """One finding. ``message`` holds the numbers of this fit, ``action`` what to do about it."""

    code: str
    severity: Severity
    message: str
    action: str

    def to_json(self) -> dict[str, str]:
        """As written in ``fit.json`` under ``warnings``."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Diagnostic:
        """Inverse of :meth:`to_json`."""
        return cls(data["code"], data["severity"], data["message"], data["action"])


CODES: dict[str, tuple[Severity, str]] = {
    "FLOOR_NOT_IDENTIFIED": (
        "warning",
        "do not report the floor as a finding; add larger models or more data, or use the -no-floor form",
    ),
    "EXPONENT_AT_BOUND": ("error", "the data do not determine this exponent; widen the range of N or D"),
    "EXPONENT_NOT_IDENTIFIED": (
        "warning",
        "quote the interval, not the number; widen the range of N or D, or use the -no-floor form",
    ),
    "FEWER_THAN_3_LEVELS": (
        "error",
        "run at least three values of this axis, log-spaced over a factor of 10",
    ),
    "SATURATED_FIT": ("error", "add configurations or choose a form with fewer parameters"),
    "LACK_OF_FIT": (
        "warning",
        "the form misses structure that seeds can see; compare --law auto, and quote the residual scatter",
    ),
    "LOW_R2": ("warning", "the law explains little; look at the residuals before using it"),
    "HIGH_R2_BAD_EXTRAPOLATION": (
        "warning",
        "do not extrapolate from this fit; R² describes the fitted range only",
    ),
    "NON_MONOTONE": ("warning", "check those runs for divergence, too few steps or a wrong learning rate"),
    "STARTS_DISAGREE": (
        "error",
        "raise --starts; if it stays, the optimum is not unique and neither is the law",
    ),
    "OBJECTIVE_SENSITIVE": ("warning", "report both objectives; look for outlying configurations"),
    "COLLINEAR_N_D": (
        "error",
        "vary N at fixed D and D at fixed N, so that their exponents can be told apart",
    ),
    "FORM_AMBIGUOUS": ("warning", "report the predictions of both forms; more or larger runs would decide"),
    "BETTER_FORM_EXISTS": ("warning", "fit the better form, or say why this one is wanted"),
    "ABOVE_CHANCE_PREDICTION": (
        "warning",
        "use the -bounded form of the law, or stay inside the fitted range",
    ),
    "EXTRAPOLATION_FACTOR": ("warning", "treat the prediction as a guess, or run closer to the target"),
    "TARGET_BELOW_FLOOR": ("warning", "no amount of this resource reaches the target under the fitted law"),
    "BEYOND_BASELINE_RANGE": (
        "info",
        "quote it as 'more than', or run the baseline with more of this resource",
    ),
    "BELOW_BASELINE_RANGE": (
        "info",
        "quote it as 'less than', or run the baseline with less of this resource",
    ),
    "LEVELS_POOLED": (
        "info",
        "the rise is taken for noise and the levels for one point; more seeds there would tell",
    ),
    "CELLS_LEFT_OUT": ("info", "run the missing side there, with the seeds of the other"),
    "MIXED_SETTINGS": ("warning", "select one setting with --where COLUMN=VALUE"),
    "NO_DEV_METRICS": (
        "info",
        "measure dev metrics (data.robust_dev): a fixed ω that is chosen on test metrics is nobody's choice",
    ),
    "NO_COMMON_UNIT": ("info", "compare contrastive entropies for a mean in nats"),
    "SEEDS_NOT_SHARED": (
        "warning",
        "run both sides with the same seeds, so that what a seed does to both cancels",
    ),
    "MULTIPLIER_NOT_CONSTANT": ("warning", "quote the multiplier together with the scale it holds at"),
    "SELECTED_ON_TEST": ("error", "evaluate the last step, or the step chosen on development queries"),
    "MIXED_PARAM_CONVENTION": ("error", "count parameters in one way in all runs of a fit"),
    "MIXED_NEGATIVES_W": ("error", "evaluate all runs of a fit with the same number of negatives"),
    "MIXED_EVALUATION": ("error", "evaluate all runs of a fit on the same pool (eval=quick or eval=full)"),
    "MIXED_COLLECTION": ("error", "fit one collection at a time: --where data=NAME"),
    "MIXED_STRATEGY": ("error", "fit one strategy at a time: --by strategy, or --where strategy=NAME"),
    "SINGLE_SEED": ("warning", "run at least two seeds a configuration: noise and lack of fit are unknown"),
    "INTERVALS_DISAGREE": ("warning", "quote the wider of the profile and the bootstrap interval"),
    "BOOTSTRAP_UNSTABLE": ("warning", "too few configurations to resample; rely on the profile intervals"),
    "SLICE_USED": ("info", "choose another slice with --where, or fit a law in both N and D"),
    "MIXED_BUDGET": ("error", "keep one value of train/steps and of train/pairs_per_step with --where"),
    "MIXED_CELL": ("error", "name the columns that tell its runs apart in --by"),
    "NO_FIXED_OMEGA": (
        "error",
        "run strategy=pareto strategy.rule=fixed with three or more values of strategy.omega",
    ),
    "FEWER_THAN_3_OMEGAS": (
        "warning",
        "run at least three values of ω (0 is the base strategy) in that cell",
    ),
    "OMEGA_AT_EDGE": ("warning", "add values of ω beyond the edge until the best lies between two of them"),
    "OMEGA_NOT_IDENTIFIED": (
        "warning",
        "any ω in the interval does about as well; add values of ω or seeds if the difference matters",
    ),
    "OMEGA_LAW_COARSE": ("warning", "use the cell's own optimum, or fit over a narrower range of N and D"),
    "OMEGA_CLIPPED": (
        "info",
        "nothing to do: the best ω is 0 or 1 there, and its logit is taken at the limit",
    ),
    "OMEGA_EXTRAPOLATED": (
        "warning",
        "treat this ω as a guess, or run fixed values of ω closer to the target",
    ),
    "MIXTURE_HOLDOUT_MISSED": (
        "warning",
        "do not use ω* beyond the fitted range; add fixed-ω runs at the largest N or D",
    ),
    "TEST_METRICS": ("info", "fit dev/eff/… and dev/ood/… to steer training; this file is for reporting"),
    "DUPLICATE_ROWS": ("info", "nothing to do: every run counts once"),
}
"""Code -> (severity, what to do)."""


def diagnose(code: str, message: str) -> Diagnostic:
    """The diagnostic ``code`` with this fit's numbers in ``message``; raises KeyError on an unknown code."""
    severity, action = CODES[code]
    return Diagnostic(code, severity, message, action)
