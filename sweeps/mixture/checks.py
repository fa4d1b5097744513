"""What is said of a fitted mixture law: diagnostics, each threshold a named constant, and text."""

from collections.abc import Iterator

from sweeps.diagnostics import Diagnostic, diagnose
from sweeps.fitting.checks import STARTS_SHARE
from sweeps.fitting.present import describe_warnings
from sweeps.mixture.optimum import EDGE, GOALS
from sweeps.mixture.record import Held, Mixture, MixtureCell, Omega
from sweeps.mixture.runs import Sample
from sweeps.mixture.surface import Surface

WIDE = 0.4
"""An interval of ω* wider than this leaves the optimum open."""
COARSE = 0.05
"""The log-linear law of ω* may miss the joint law's optimum by this much."""
NEAR = 0.02
"""An optimum less than this beyond an edge, or outside an interval, is not called so."""
FAR = 2.0
"""(N, D) more than this factor outside the fitted range is extrapolation."""

GOAL_NAMES = {"knee": "E + R", "eff": "E", "rob": "R"}


def check(record: Mixture, surface: Surface) -> Iterator[Diagnostic]:
    """All findings on a fit, in the order in which they matter."""
    if record.n_runs == record.n_configs:
        yield diagnose("SINGLE_SEED", f"{record.n_runs} runs, none repeated with another seed")
    for name, part in (("E", surface.eff), ("R", surface.rob)):
        tried, agreeing = part.optimum.tried, part.optimum.agreeing
        if agreeing < max(3, STARTS_SHARE * tried):
            yield diagnose(
                "STARTS_DISAGREE", f"{name}: {agreeing} of {tried} starts reached the best objective"
            )
    for goal in GOALS:
        yield from _cells(record, goal)
    yield from _held(record)
    yield from _law(record)
    if not record.steers:
        names = " and ".join(record.metrics.values())
        text = f"{names} are not both dev metrics (dev/…): training refuses this file"
        yield diagnose("TEST_METRICS", text)


def name_cell(cell: MixtureCell | Held) -> str:
    """A cell as people name it: ``bert-tiny 0.25``, or its N and D."""
    words = " ".join(str(value) for value in cell.where.values())
    return words or f"N={cell.params_non_embedding:.4g} D={cell.train_pairs:.4g}"


def _cells(record: Mixture, goal: str) -> Iterator[Diagnostic]:
    """Where the best ω lies beyond the ω's that ran in the cell (0 and 1 are no edges), or is open."""
    beyond, wide = [], []
    for cell in record.cells:
        best, ran = cell.optimum[goal], [one.omega for one in cell.measured]
        if best.omega < min(ran) - NEAR or best.omega > max(ran) + NEAR:
            beyond.append(f"{name_cell(cell)}: {best.omega:.2f} outside {min(ran):g} to {max(ran):g}")
        if best.high - best.low > WIDE:
            wide.append(f"{name_cell(cell)}: {best.low:.2f} to {best.high:.2f}")
    what = f"the ω that minimises {GOAL_NAMES[goal]}"
    if beyond:
        yield diagnose("OMEGA_AT_EDGE", f"{what} lies beyond those that ran: {_some(beyond)}")
    if wide:
        yield diagnose("OMEGA_NOT_IDENTIFIED", f"{what} is flat within noise: {_some(wide)}")


def _held(record: Mixture) -> Iterator[Diagnostic]:
    missed: dict[str, list[str]] = {}
    for held in record.holdout:
        low, high = held.predicted.low, held.predicted.high
        if not low - NEAR <= held.fitted <= high + NEAR:
            text = f"{name_cell(held)}: {held.fitted:.2f}, predicted {low:.2f} to {high:.2f}"
            missed.setdefault(held.axis, []).append(text)
    for axis, texts in missed.items():
        text = f"fitted without the largest {axis}, the knee's ω* is missed: {_some(texts)}"
        yield diagnose("MIXTURE_HOLDOUT_MISSED", text)


def _law(record: Mixture) -> Iterator[Diagnostic]:
    for goal, law in record.optimum.items():
        if law.max_error > COARSE:
            text = f"the log-linear law of ω* ({GOAL_NAMES[goal]}) is off by up to {law.max_error:.2f}"
            yield diagnose("OMEGA_LAW_COARSE", text)
        if law.clipped:
            text = f"the ω that minimises {GOAL_NAMES[goal]} leaves {EDGE:g} to {1 - EDGE:g} within the range"
            yield diagnose("OMEGA_CLIPPED", text)


def check_point(sample: Sample, n: float, d: float) -> list[Diagnostic]:
    """OMEGA_EXTRAPOLATED where (N, D) lies more than a factor of two outside the fitted range."""
    found = []
    for axis, value, own in (("N", n, sample.inputs.n), ("D", d, sample.inputs.d)):
        low, high = float(own.min()), float(own.max())
        factor = max(value / high, low / value)
        if factor > FAR:
            text = f"{axis}={value:.4g} lies {factor:.3g}× outside the fitted range {low:.4g} to {high:.4g}"
            found.append(diagnose("OMEGA_EXTRAPOLATED", text))
    return found


def _some(texts: list[str], shown: int = 3) -> str:
    return "; ".join(texts[:shown]) + (f"; and {len(texts) - shown} more" if len(texts) > shown else "")


def describe(record: Mixture) -> list[str]:
    """Lines that state the forms, why these, the best ω of every cell, and every diagnostic."""
    conditions = record.conditions
    lines = [
        f"{record.n_runs} fixed-ω runs, {record.n_configs} configurations ({record.n_left_out} "
        f"other rows left out); {conditions.train_steps} steps of {conditions.pairs_per_step:g} pairs, "
        f"robust={conditions.robust}, base={conditions.base_strategy}"
    ]
    for key, name in (("eff", "E"), ("rob", "R")):
        lines += _form(record, key, name)
    percent = f"{100 * record.level:g} %"
    lines.append(f"best ω ({percent}):  {'cell':24} {'min E + R':>20} {'min E':>20} {'min R':>20}")
    for cell in record.cells:
        where = " ".join(str(cell.where[name]) for name in record.by) or "all"
        lines.append(f"  D = {cell.train_pairs:<10.6g} {where:28} {_goals(cell.optimum)}")
    for held in record.holdout:
        lines.append(
            f"  without the largest {held.axis} ({held.train_pairs:.6g} pairs): ω* {omega(held.predicted)} "
            f"predicted, {held.fitted:.2f} with all runs, {held.regret:.4f} nats lost"
        )
    knee = record.optimum["knee"]
    lines.append(
        f"law of the knee: logit ω* = {knee.intercept:.4g} {knee.ln_train_pairs:+.4g}·ln D "
        f"{knee.ln_params_non_embedding:+.4g}·ln N, within {knee.max_error:.3f} of the joint law"
    )
    if knee.one_level:
        lines.append(
            f"  one {' and one '.join(knee.one_level)} in the table: its coefficient is 0, not fitted"
        )
    for said in record.predictions:
        at = f"N={said.params_non_embedding:.4g}, D={said.train_pairs:.4g}"
        lines.append(f"predicted at {at}: {_goals(said.optimum)}")
        lines += [f"  {item.level} {item.code}: {item.message}" for item in said.warnings]
    return lines + describe_warnings(record.warnings)


def _form(record: Mixture, key: str, name: str) -> list[str]:
    parts = []
    for label, form in record.forms[key].items():
        error = "" if form.holdout is None else f", {form.holdout:.1%}"
        parts.append(f"{label} ({form.delta_aicc:.1f}{error})")
    params = ", ".join(f"{label}={one.value:.4g}" for label, one in record.params[key].items())
    return [
        f"{name} = {record.metrics[key]} ~ {record.form[key]}, chosen by {record.chosen_by}; "
        f"rmse of ln {record.rmse_log[key]:.4f}",
        f"  {params}",
        f"  ΔAICc, hold-out error: {', '.join(parts)}",
    ]


def _goals(optimum: dict[str, Omega]) -> str:
    return " ".join(f"{omega(optimum[goal]):>20}" for goal in ("knee", "eff", "rob"))


def omega(one: Omega) -> str:
    """``0.25 [0.20, 0.31]``."""
    return f"{one.omega:.2f} [{one.low:.2f}, {one.high:.2f}]"
