"""A mixture law as text for the terminal."""

from __future__ import annotations

from sweeps.fitting.present import describe_warnings
from sweeps.mixture.record import Mixture, Omega


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
