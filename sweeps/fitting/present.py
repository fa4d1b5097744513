"""A fit as text for the terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

from sweeps.diagnostics import Diagnostic
from sweeps.fitting.groups import FitFile
from sweeps.fitting.result import FitResult, Prediction

SHOWN = 3
"""Messages of one code that are printed; a record holds all of them."""


def number(value: float | None) -> str:
    """Four significant digits; a dash for what is unknown."""
    return "–" if value is None else f"{value:.4g}"


def aligned(rows: Sequence[Sequence[str]], left: int = 0, indent: str = "  ") -> list[str]:
    """Rows of text as lines with columns of one width: the first ``left`` flush left, the others right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))] if rows else []
    lines = []
    for row in rows:
        parts = [f"{part:{'<' if k < left else '>'}{widths[k]}}" for k, part in enumerate(row)]
        lines.append(f"{indent}{'   '.join(parts)}".rstrip())
    return lines


def describe(fit: FitResult, name: str | None = None) -> list[str]:
    """Lines that state the law, its parameters with intervals, how good it is, and every diagnostic."""
    title = f"{fit.metric} ~ {fit.form.formula}   ({fit.law})"
    lines = [f"[{name}] {title}" if name else title]
    lines.append(f"  {fit.n_runs} runs, {fit.n_configs} configurations; {fit.options.loss} on ln residuals")
    percent = f"{100 * fit.options.level:g} %"
    lines.append(f"  {'':7} {'estimate':>11}  {percent + ' profile':>24}  {percent + ' bootstrap':>24}")
    for key, value in fit.params.items():
        drawn = fit.bootstrap.intervals[key] if fit.bootstrap else (None, None)
        profile, bootstrap = _interval(fit.intervals[key]), _interval(drawn)
        lines.append(f"  {key:7} {number(value):>11}  {profile:>24}  {bootstrap:>24}")
    lines.append(f"  R² {fit.r2['log']:.5f} (ln), {fit.r2['linear']:.5f} (linear)")
    agreeing = f"{fit.starts['agreeing']} of {fit.starts['tried']} starts agree"
    noise = f"rmse of ln metric {number(fit.rmse_log)}, seed noise {number(fit.noise['seed_sd'])}"
    lines.append(f"  {noise}; {agreeing}")
    held = fit.holdout
    if held.relative_error is None:
        lines.append("  hold-out: not possible, too few configurations would remain")
    else:
        what = f"hold-out of the largest {held.axis} ({held.n} configurations)"
        lines.append(f"  {what}: worst error {held.relative_error:+.2%}")
    return lines + _forms(fit) + describe_warnings(fit.warnings, indent="  ")


def _interval(ends: Sequence[float | None]) -> str:
    return f"{number(ends[0])} … {number(ends[1])}"


def _forms(fit: FitResult) -> list[str]:
    if not fit.comparison:
        return []
    forms: dict[str, dict[str, Any]] = fit.comparison["forms"]
    ranked = sorted(forms, key=lambda name: (forms[name]["aicc"] is None, forms[name]["aicc"]))
    parts = []
    for name in ranked:
        delta, error = forms[name]["delta_aicc"], forms[name]["holdout"]
        shown = f"{error:+.1%}" if error is not None else "–"
        parts.append(f"{name} {number(delta)} ({shown})")
    preferred, verdict = fit.comparison["preferred"], fit.comparison["verdict"]
    return [f"  ΔAICc (hold-out error): {', '.join(parts)}", f"  preferred form: {preferred}, {verdict}"]


def describe_warnings(warnings: Iterable[Diagnostic], indent: str = "") -> list[str]:
    """Lines of every code: its first messages, how many more there are, and once what to do about it."""
    by_code: dict[str, list[Diagnostic]] = {}
    for warning in warnings:
        by_code.setdefault(warning.code, []).append(warning)
    lines = []
    for code, found in by_code.items():
        lines += [f"{indent}{one.level} {code}: {one.message}" for one in found[:SHOWN]]
        if len(found) > SHOWN:
            lines.append(f"{indent}    … and {len(found) - SHOWN} more of {code}")
        lines.append(f"{indent}    → {found[0].remedy}")
    return lines


def describe_prediction(said: Prediction) -> list[str]:
    """Lines for one entry of ``predictions`` in ``fit.json``."""
    line = f"  predicted at N={said.N:.4g}, D={said.D:.4g}: {said.predicted:.5g}"
    line += f", law {_interval(said.mean_band)}, new run {_interval(said.run_band)}"
    if said.observed is not None:
        line += f"; observed {said.observed:.5g}, error {said.relative_error:+.2%}"
    return [line, *describe_warnings(said.warnings, indent="  ")]


def describe_file(file: FitFile) -> list[str]:
    """The lines of all fits, of their predictions and of the groups without one."""
    lines = describe_warnings(file.warnings or ())
    for name, fit in file.groups.items():
        lines += describe(fit, name if file.by is not None else None)
        lines += [line for said in fit.predictions or () for line in describe_prediction(said)]
    return lines + [f"[{name}] not fitted: {reason}" for name, reason in file.refused.items()]
