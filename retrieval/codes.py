"""Stable codes for what can be wrong with a run: name, level, meaning, remedy.

``CODES`` is the registry of the runs; ``sweeps.codes`` adds those of the analysis. The message with the
numbers of a case is made where the code is raised. The page ``docs/codes.md`` is made from both registries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "info"]

Finding = dict[str, str]
"""A warning as it stands in ``result.json``: ``code``, ``message`` and ``remedy``."""


@dataclass(frozen=True)
class Code:
    """One kind of finding: ``meaning`` says what is the case, ``remedy`` what to do about it."""

    name: str
    level: Level
    meaning: str
    remedy: str


def by_name(*codes: Code) -> dict[str, Code]:
    """A registry of ``codes``; raises ValueError where two have the same name."""
    found = {code.name: code for code in codes}
    if len(found) < len(codes):
        raise ValueError("two codes have the same name")
    return found


def look_up(name: str, codes: Mapping[str, Code]) -> Code:
    """The code ``name``; raises ValueError where it is not among ``codes``."""
    if name not in codes:
        raise ValueError(f"{name} is no code of the registry; describe it there before it is raised")
    return codes[name]


FAILURES = by_name(
    Code(
        "LOSS_NOT_FINITE",
        "error",
        "a training loss is infinite or not a number, which ends the run",
        "lower train.lr, or set train.precision=32",
    ),
    Code(
        "CHECKPOINT_MISMATCH",
        "error",
        "a checkpoint holds weights of other shapes than the run's model",
        "delete the folder of this checkpoint to train anew",
    ),
    Code(
        "NEGATIVES_MISSING",
        "error",
        "the hard negatives that an interrupted run was drawing from are gone, so it cannot be resumed",
        "delete the run directory to start anew",
    ),
)
"""What ends a run."""

WARNINGS = by_name(
    Code(
        "UNKNOWN_WORDS",
        "warning",
        "over a tenth of the tokens of a collection's queries or passages are the tokenizer's unknown token: "
        "words that the model cannot tell apart (where all of them are, training is refused)",
        "use a model whose vocabulary knows the language and script of the texts, or model.init=scratch, "
        "which learns one from the training texts",
    ),
    Code(
        "EMPTY_TEXTS",
        "warning",
        "queries or passages hold no token once tokenised, so all of them are one and the same text",
        "give them text, or remove them and their judgements",
    ),
    Code(
        "REPEATED_TEXTS",
        "warning",
        "over 1 % of a collection's queries or passages repeat the text of another: copies of a passage get "
        "the same score, and a copy that is not judged counts as irrelevant",
        "remove the copies, or judge them as their originals are",
    ),
    Code(
        "PAIRS_LEFT_OUT",
        "warning",
        "pairs of a collection lack the text of their query or of their passage: they are neither trained on "
        "nor measured",
        "give them text, or remove them; where the texts stand in another column, name it (data.query, "
        "data.passage)",
    ),
    Code(
        "QUERIES_LEFT_OUT",
        "warning",
        "queries of a test or dev set have judgements, but none above 0: they are in no mean, while BEIR and "
        "trec_eval -c count them as zeros",
        "say so where figures are compared with BEIR's, or remove these queries from the judgements of both",
    ),
    Code(
        "CONSTANT_SCORES",
        "warning",
        "at over a tenth of the queries of a set, all passages have one score, but for rounding: there the "
        "ranking metrics are those of an arbitrary order",
        "do not report these metrics; look for a collapsed encoder (lower train.lr or "
        "strategy.perturbation.epsilon), unknown words or empty queries",
    ),
    Code(
        "AT_CHANCE_LEVEL",
        "warning",
        "in-domain contrastive entropy is that of constant scores, ln(W + 1): an encoder from scratch that "
        "meets too strong a perturbation gives up and maps all texts to one vector",
        "train longer, or lower train.lr or strategy.perturbation.epsilon",
    ),
    Code(
        "OMEGA_OSCILLATES",
        "warning",
        "in the later half of the run, ω turns back at half of the logged steps or more, by 0.05 or more at "
        "the median",
        "lower strategy.eta or raise strategy.decay",
    ),
    Code(
        "OMEGA_SATURATED",
        "warning",
        "in the later half of the run, ω is at one of its bounds at half of the logged steps or more: the "
        "target ratio cannot be met",
        "take the target from a frontier of this model and data (strategy.frontier), or lower strategy.eta",
    ),
    Code(
        "PROXY_DIVERGED",
        "warning",
        "training losses are no proxy for contrastive entropy: at the last recalibration, R/E by the two is "
        "more than 25 % apart, or over four or more recalibrations they are negatively correlated. Runs with "
        "strategy.recalibrate=0, the default, are not asked",
        "set strategy.recalibrate to fewer steps, and compare with fixed ω",
    ),
    Code(
        "FRONTIER_NOT_REACHED",
        "warning",
        "a point of the frontier file is better in both metrics by more than 1 %",
        "train longer, or aim at a frontier of runs of this size and data",
    ),
    Code(
        "OMEGA_ZERO",
        "warning",
        "training sees no more pairs than there are, so the rule leaves ω at 0 and the run is its base "
        "strategy",
        "train longer, or set strategy.omega",
    ),
    Code(
        "ROBUST_DATA_NO_HELP",
        "warning",
        "a rule of ω set it to 0 because robust steps do not lower the robust-dev loss",
        "name robust-training domains nearer to data.robust_dev, or use strategy=standard",
    ),
    Code(
        "OMEGA_EXTRAPOLATED",
        "warning",
        "a law of ω was asked for an N or D over 2 × outside its fitted range",
        "treat this ω as a guess, or run fixed values of ω closer to the target",
    ),
)
"""What a finished run records under ``warnings``."""

CODES = FAILURES | WARNINGS
"""Every code of a run by its name."""


def finding(name: str, message: str) -> Finding:
    """The warning ``name`` with the message of a case; raises ValueError where it is not in the registry."""
    return {"code": name, "message": message, "remedy": look_up(name, WARNINGS).remedy}
