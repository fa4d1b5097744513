"""Stable codes of the analysis, and the registry that joins them with the codes of the runs.

A code is written ``NAME level: meaning`` and, below it, ``→ remedy``. ``python -m sweeps.codes`` writes the
page ``docs/codes.md`` anew.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from retrieval.codes import CODES as RUN_CODES
from retrieval.codes import FAILURES, WARNINGS, Code, Level, by_name

_ENTRY = re.compile(r"(\w+) (error|warning|info): (.+?) → (.+)")


def _read(text: str) -> dict[str, Code]:
    codes = []
    for entry in re.split(r"\n(?=\w)", text.strip()):
        match = _ENTRY.fullmatch(" ".join(entry.split()))
        if match is None:
            raise ValueError(f"not a code: {entry}")
        codes.append(Code(match[1], cast(Level, match[2]), match[3], match[4]))
    return by_name(*codes)


FITS = _read("""
FLOOR_NOT_IDENTIFIED warning: the floor's interval includes 0, or is open
    → do not report the floor as a finding; add larger models or more data, or use the -no-floor form
EXPONENT_AT_BOUND error: an exponent ended on the limit of its search range (0.005 to 8)
    → the data do not determine this exponent; widen the range of N or D
EXPONENT_NOT_IDENTIFIED warning: an exponent's interval is open, or its ends differ tenfold
    → quote the interval, not the number; widen the range of N or D, or use the -no-floor form
FEWER_THAN_3_LEVELS error: an axis has fewer than three values (with one value the fit is refused)
    → run at least three values of this axis, log-spaced over a factor of 10
SATURATED_FIT error: no more configurations than parameters
    → add configurations or choose a form with fewer parameters
LACK_OF_FIT warning: deviations from the law exceed seed noise (pure-error F test, 1 %)
    → the form misses structure that seeds can see; compare --law auto, and quote the residual scatter
LOW_R2 warning: R² of ln metric below .90
    → the law explains little; look at the residuals before using it
HIGH_R2_BAD_EXTRAPOLATION warning: R² of .95 or more, but a held-out point is missed by over 2 % and three
    residual deviations
    → do not extrapolate from this fit; R² describes the fitted range only
NON_MONOTONE warning: the metric rises with N or D (falls, where the law grows), significantly (1 %,
    Bonferroni) and by over 0.5 %
    → check those runs for divergence, too few steps or a wrong learning rate
METRIC_GROWS error: the metric rises with every step of N or D, which no law of losses describes
    → fit a quantity that grows, such as a cost, with --grows; a loss that does so was trained wrongly
GROWTH_NOT_ESTABLISHED warning: the interval of a growing law's exponent reaches to 0 or below, or is open
    → quote the interval: the quantity may not depend on this axis, or fall with it
STARTS_DISAGREE error: fewer than 5 % of the starts, or fewer than three, reached the best objective
    → raise --starts; if it stays, the optimum is not unique and neither is the law
OBJECTIVE_SENSITIVE warning: least squares and Huber disagree: an exponent or the floor leaves its interval
    → report both objectives; look for outlying configurations
COLLINEAR_N_D error: ln N and ln D are correlated at .95 or more
    → vary N at fixed D and D at fixed N, so that their exponents can be told apart
FORM_AMBIGUOUS warning: another form is within 2 AICc
    → report the predictions of both forms; more or larger runs would decide
BETTER_FORM_EXISTS warning: another form is better by 4 AICc or more
    → fit the better form, or say why this one is wanted
ABOVE_CHANCE_PREDICTION warning: the law exceeds ln(W + 1), inside the fitted range or at a prediction
    → use the -bounded form of the law, or stay inside the fitted range
EXTRAPOLATION_FACTOR warning: a prediction lies more than 4 × outside the fitted range of N or D
    → treat the prediction as a guess, or run closer to the target
SELECTED_ON_TEST error: eval/selection is test, or the metric is a best or minimum over training
    → evaluate the last step, or the step chosen on development queries
MIXED_PARAM_CONVENTION error: refused: size/convention differs between rows
    → count parameters in one way in all runs of a fit
MIXED_NEGATIVES_W error: refused: eval/negatives differs between rows of a contrastive entropy
    → evaluate all runs of a fit with the same number of negatives
MIXED_EVALUATION error: refused: eval/pool differs between rows
    → evaluate all runs of a fit on the same pool (eval=quick or eval=full)
MIXED_COLLECTION error: refused: data or data/fingerprint differs between rows
    → fit one collection at a time: --where data=NAME
MIXED_STRATEGY error: refused: strategy, base strategy, ω rule or kind of robustness data differs
    → fit one strategy at a time: --by strategy, or --where strategy=NAME
MIXED_FAMILY error: refused: model_family differs between rows
    → fit one family at a time: --by model_family, or --where model_family=NAME
MIXED_FIRST_STAGE error: refused: rankings re-rank different first stages, or some are full rankings
    → keep one first stage with --where eval/first_stage=NAME, full rankings with --where eval/first_stage=
SINGLE_SEED warning: a configuration has one seed, or all have, so noise and lack of fit are unknown and
    intervals are missing
    → run at least two seeds a configuration
INTERVALS_DISAGREE warning: profile and bootstrap intervals of an exponent differ threefold in width
    → quote the wider of the profile and the bootstrap interval
BOOTSTRAP_UNSTABLE warning: over half of the bootstrap draws had to be discarded
    → too few configurations to resample; rely on the profile intervals
MIXED_SETTINGS warning: several runs of one seed stand in one cell or configuration: they differ in a setting
    that its name leaves out
    → select one setting with --where COLUMN=VALUE
SLICE_USED info: a law in one axis was fitted to one value of the other
    → choose another slice with --where, or fit a law in both N and D
ROWS_LEFT_OUT warning: rows were not used, because a cell that the analysis needs is blank or no number
    → fill the cells in, or say how many runs the result stands on
RATE_NOT_REACHED error: an attack never reaches the level whose cost is asked for (refused without
    --drop-invalid)
    → choose a lower level or attack with more words; without these runs, which cost most, a law is too low
RATE_REACHED_UNATTACKED warning: the level is reached before any word is changed, so it costs nothing (refused
    without --drop-invalid)
    → choose a higher level, or attack passages at lower ranks
SEED_UNKNOWN warning: rows have no seed, so each counts as a seed of its own
    → fill the seeds in, or name the column that holds them with --seed-column
RUN_IS_REPLICATE info: the column of run names holds a few values that recur at every size, so it names
    no runs
    → nothing to do if it counts replicates; else name another column with --run-column
SETTING_NOT_STATED warning: some rows do not state what all rows of a fit must agree in
    → fill the cells in, or leave such rows out with --where COLUMN=VALUE
REPLICATES_UNKNOWN error: refused: rows of one size differ in a setting, and no seed tells them apart
    → choose one setting with --where, fit each with --by, or name the column of seeds with --seed-column
DUPLICATE_ROWS info: rows of the same run were left out
    → nothing to do: every run counts once
ALL_GROUPS_REFUSED error: refused: none of the groups of --by can be fitted
    → read the reason of each group in the message, and mend the table or choose other columns for --by
""")
"""Of scaling laws; the other analyses raise some of them too."""

MIXTURES = _read("""
NO_FIXED_OMEGA error: refused: the table holds no run of strategy=pareto strategy.rule=fixed
    → run strategy=pareto strategy.rule=fixed with three or more values of strategy.omega
FEWER_THAN_3_OMEGAS warning: a cell has fewer than three values of ω and is left out (refused when no cell
    has three)
    → run at least three values of ω (0 is the base strategy) in that cell
MIXED_BUDGET error: refused: several train/steps or train/pairs_per_step
    → keep one value of train/steps and of train/pairs_per_step with --where
MIXED_CELL error: refused: a cell of --by holds several N or D
    → name the columns that tell its runs apart in --by
OMEGA_AT_EDGE warning: the best ω lies beyond the values that ran in a cell (0 and 1 are no edges)
    → add values of ω beyond the edge until the best lies between two of them
OMEGA_NOT_IDENTIFIED warning: the interval of the best ω is wider than 0.4
    → any ω in the interval does about as well; add values of ω or seeds if the difference matters
OMEGA_LAW_COARSE warning: logit ω* = a + b·ln D + c·ln N misses the joint law's optimum by over .05
    → use the cell's own optimum, or fit over a narrower range of N and D
OMEGA_CLIPPED info: the best ω is below .005 or above .995 within the range
    → nothing to do: the best ω is 0 or 1 there, and its logit is taken at the limit
MIXTURE_HOLDOUT_MISSED warning: fitted without the largest N (or D), the interval of its best ω misses the
    one fitted with all runs
    → do not use ω* beyond the fitted range; add fixed-ω runs at the largest N or D
TEST_METRICS info: the metrics are not dev metrics, so training refuses the file
    → fit dev/eff/… and dev/ood/… to steer training; this file is for reporting
""")
"""Of mixture laws."""

COMPARISONS = _read("""
MULTIPLIER_NOT_CONSTANT warning: exponents differ, so an efficiency multiplier depends on scale
    → quote the multiplier together with the scale it holds at
TARGET_BELOW_FLOOR warning: an efficiency target lies below the baseline's floor, so the multiplier is
    unbounded
    → no amount of this resource reaches the target under the fitted law
BEYOND_BASELINE_RANGE info: a measured multiplier needs more than the baseline was run with
    → quote it as 'more than', or run the baseline with more of this resource
BELOW_BASELINE_RANGE info: a measured multiplier needs less than the baseline was run with
    → quote it as 'less than', or run the baseline with less of this resource
LEVELS_POOLED info: the baseline's mean rises from one level to the next
    → the rise is taken for noise and the levels for one point; more seeds there would tell
SEEDS_NOT_SHARED warning: a seed was run on one side alone
    → run both sides with the same seeds, so that what a seed does to both cancels
CELLS_LEFT_OUT info: a cell has one of the two strategies alone
    → run the missing side there, with the seeds of the other
NO_COMMON_UNIT info: the metrics are not all contrastive entropies, so they have no mean
    → compare contrastive entropies for a mean in nats
NO_DEV_METRICS info: no fixed ω can be chosen on dev in some cell
    → measure dev metrics (data.robust_dev): a fixed ω that is chosen on test metrics is nobody's choice
SLICES_DIFFER warning: laws of two families hold at different values of the other resource
    → run both families at one N (or D), so that their exponents are those of equal conditions
NO_EXPONENT info: a family has too few sizes or amounts of data for a law, or too few configurations to
    resample it
    → run three or more values of model.layers, model or data.frac in that family
NO_COMMON_RANGE warning: two families were run at amounts of a resource that do not overlap
    → nothing is extrapolated: run one of them at amounts of the other
EVALUATION_DIFFERS warning: families were measured on different numbers of queries or draws
    → their values have different sampling errors; measure the family alike, or say so beside the numbers
NO_MULTIPLIER error: refused: no resource gives a multiplier
    → read the reason of each resource in the message; run both strategies at three or more values of it
""")
"""Of strategies compared."""

FRONTIERS = _read("""
FRONTIER_TOO_SHORT warning: fewer than three configurations are non-dominated, so the knee is one of the
    frontier's ends
    → trace the frontier: strategy=pareto strategy.rule=fixed strategy.omega=0,0.25,0.5,0.75,1
SEVERAL_FAMILIES info: the frontier is over runs of several model families
    → for one of each family say --by model_family; keep one family with --where model_family=NAME
RHO_UNDEFINED warning: ρ* is defined for two contrastive entropies, and the metrics are not
    → use contrastive entropies for strategy.frontier
""")
"""Of frontiers."""

ROBUSTNESS = _read("""
SCORES_MISSING warning: runs have no per-query scores, so they are in no statistic
    → evaluate them again (python -m sweeps rerun), or leave them out with --where
QUERIES_NOT_SHARED warning: some queries of a set have no score in some runs, and are left out
    → evaluate all runs alike (eval.max_queries, eval.pair_queries), or keep runs of one evaluation by --where
QUERIES_SAMPLED warning: a set has more queries than are analysed, so some were drawn
    → raise --max-queries to analyse all of them
EFFECTS_ALIASED warning: an effect is left out of the mixed model, because others determine it in these runs
    → vary it apart from the others, or keep one value of the others with --where
NO_MIXED_MODEL warning: the runs of a kind do not give a mixed model
    → run more seeds or sizes than there are effects; the paired statistics do not need the model
MIXED_MODEL_NOT_CONVERGED error: no optimiser says that it reached the optimum of the mixed model
    → do not report its variances; keep fewer effects or fewer collections with --where
VARIANCE_AT_ZERO info: a variance of the mixed model is estimated as 0
    → nothing to do: the runs, or the collections, differ by no more than the residual explains
FEW_DOMAINS warning: an interval over collections is drawn from fewer than five of them
    → read it as a lower limit of what new collections may bring; measure more of them (data.ood)
""")
"""Of statistics over per-query scores."""

REPORTS = _read("""
NO_PARETO_RUNS info: no run has a moving ω
    → add some with python train.py -m strategy=standard,pareto …
NO_FIT info: no strategy has the three sizes or three numbers of pairs that a law needs
    → run three or more values of model or data.frac
NO_MIXTURE_LAW info: the runs with fixed ω do not give a mixture law
    → run strategy=pareto strategy.rule=fixed with three or more values of strategy.omega in a cell
NO_COMPARISON info: the runs lack the baseline, or any other strategy
    → add the other side with python train.py -m strategy=standard,pareto …
NO_FRONTIER info: the runs do not give a frontier
    → evaluate both metrics in every run: eval=quick or full
ONE_STRATEGY info: all runs have one strategy, so the frontier shows scale alone
    → add others with python train.py -m strategy=standard,pareto …
NO_FAMILIES info: the runs of several model families cannot be compared
    → run the families with one strategy and the same evaluation
NO_RANKING_METRIC info: the runs have no nDCG@10
    → evaluate with eval=quick or full
NO_BM25 info: the runs have no BM25 baseline
    → evaluate with eval.bm25=true
NO_COST info: the runs recorded no cost
    → nothing to do if the table comes from elsewhere; runs of this project record their cost
""")
"""Of what a report lacks."""

CODES = by_name(
    *(
        code
        for part in (RUN_CODES, FITS, MIXTURES, COMPARISONS, FRONTIERS, ROBUSTNESS, REPORTS)
        for code in part.values()
    )
)
"""Every code of runs and of the analysis by its name."""

_INTRODUCTION = """# Codes of runs and of the analysis

<!-- Made by `make codes` from retrieval/codes.py and sweeps/codes.py; edit those. -->

A code names one kind of finding. It does not change between versions. The message beside a code has the
numbers of the case. `python -m sweeps fit --strict` exits with 1 if a code of level *error* is present.
Where the meaning says *refused*, the command ends with one line and exit status 2.
"""

_SECTIONS = {
    "Runs that fail": ("The code stands in `status.json` and in the last line of the log.", FAILURES),
    "Runs that finish": ("The codes and messages stand under `warnings` in `result.json`.", WARNINGS),
    "Scaling laws": ("See [fitting.md](fitting.md). The other analyses raise some of these codes too.", FITS),
    "Mixture laws": ("See [mixture.md](mixture.md).", MIXTURES),
    "Comparisons": ("See [comparing.md](comparing.md).", COMPARISONS),
    "Frontiers": ("See [comparing.md](comparing.md#frontiers-for-reporting-and-for-training).", FRONTIERS),
    "Robustness statistics": ("See [robustness.md](robustness.md#statistics).", ROBUSTNESS),
    "Reports": ("They stand in the sections of a report that lack something.", REPORTS),
}
"""Heading -> sentence below it, codes."""


def documented() -> str:
    """The page ``docs/codes.md``."""
    parts = [_INTRODUCTION]
    for heading, (sentence, codes) in _SECTIONS.items():
        parts.append(f"## {heading}\n\n{sentence}\n\n{_table(codes.values())}")
    return "\n".join(parts)


def _table(codes: Iterable[Code]) -> str:
    rows = [f"| `{code.name}` | {code.level} | {code.meaning} | {code.remedy} |\n" for code in codes]
    return "".join(["| code | level | meaning | what to do |\n|---|---|---|---|\n", *rows])


if __name__ == "__main__":
    page = Path(__file__).parents[1] / "docs" / "codes.md"
    page.write_text(documented(), encoding="utf-8")
