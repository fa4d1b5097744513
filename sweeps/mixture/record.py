"""``mixture.json``: a fitted mixture law as the record that training, reports and people read."""

from __future__ import annotations

from typing import Any

import numpy as np

from retrieval.run.files import plain
from sweeps.fitting.estimate import Estimate
from sweeps.fitting.laws import Floats
from sweeps.fitting.points import Runs
from sweeps.mixture.checks import check_point
from sweeps.mixture.compare import Candidate
from sweeps.mixture.optimum import GOALS, OptimumLaw, interval
from sweeps.mixture.result import HeldOut, MixtureResult
from sweeps.mixture.surface import form_of

KIND = "mixture"
VERSION = 1
_CURVE = np.linspace(0.0, 1.0, 41)
"""ω at which the predicted frontier is written."""


def to_json(result: MixtureResult, predict: list[tuple[float, float]] | None = None) -> dict[str, Any]:
    """The record, JSON-able, at full precision; ``predict``: further (N, D) at which ω* is wanted."""
    options, comparison = result.options, result.comparison
    forms, own = result.surface.forms, result.draws.parts[0][1]
    level = options.fit.level
    record: dict[str, Any] = {
        "kind": KIND,
        "version": VERSION,
        "metrics": {"eff": options.eff, "rob": options.rob},
        "steers": options.steers,
        "conditions": result.prepared.conditions,
        "by": list(options.by),
        "level": level,
        "loss": options.fit.loss,
        "bootstrap": options.fit.bootstrap,
        "seed": options.fit.seed,
        "n_runs": result.prepared.n_runs,
        "n_left_out": result.prepared.n_left_out,
        "n_configs": len(result.sample.inputs.omega),
        "form": {"eff": forms[0].name, "rob": forms[1].name},
        "formula": {"eff": forms[0].formula, "rob": forms[1].formula},
        "chosen_by": comparison.chosen_by,
        "forms": {"eff": _forms(comparison.eff), "rob": _forms(comparison.rob)},
        "params": {
            "eff": _params(result.surface.eff, own[0], level),
            "rob": _params(result.surface.rob, own[1], level),
        },
        "rmse_log": {"eff": _rmse(result.surface.eff), "rob": _rmse(result.surface.rob)},
        "holdout": [row for held in result.held for row in _held(held)],
        "optimum": {goal: _optimum(result, result.optimum[goal]) for goal in GOALS},
        "cells": _cells(result),
        "predictions": [_prediction(result, n, d) for n, d in predict or []],
        "warnings": [warning.to_json() for warning in result.warnings],
    }
    done: dict[str, Any] = plain(record)
    return done


def _forms(candidates: list[Candidate]) -> dict[str, Any]:
    """Forms of one objective, best first."""
    least = min(item.aicc for item in candidates)
    return {
        item.form.name: {
            "formula": item.form.formula,
            "source": item.form.source,
            "parameters": item.estimate.law.size,
            "aicc": item.aicc,
            "delta_aicc": item.aicc - least,
            "weight": item.weight,
            "rmse_log": _rmse(item.estimate),
            "holdout": item.error,
            "errors": item.errors,
        }
        for item in candidates
    }


def _params(part: Estimate, draws: Floats, level: float) -> dict[str, Any]:
    form = form_of(part)
    inputs = part.law.inputs  # type: ignore[attr-defined]
    own, drawn = form.publish(part.optimum.theta[None, :], inputs), form.publish(draws, inputs)
    found = {}
    for name, value in own.items():
        low, high = interval(drawn[name], level)
        found[name] = {"value": value[0], "low": low, "high": high}
    return found


def _rmse(part: Estimate) -> float:
    return float(np.sqrt((part.residuals**2).mean()))


def _held(held: HeldOut) -> list[dict[str, Any]]:
    rows = []
    for i, place in enumerate(held.sample.used):
        cell = held.sample.cells[place]
        knee = {name: getattr(held.predicted, name)["knee"][i] for name in ("omega", "low", "high")}
        rows.append(
            {"axis": held.axis, **cell.where, "params_non_embedding": cell.n, "train_pairs": cell.d}
            | {"goal": "knee", "predicted": knee, "fitted": held.fitted[i], "regret": held.regret[i]}
        )
    return rows


def _optimum(result: MixtureResult, law: OptimumLaw) -> dict[str, Any]:
    inputs = result.sample.inputs
    low, high = interval(law.draws, result.options.fit.level)
    names = ("intercept", "ln_train_pairs", "ln_params_non_embedding")
    return {
        **dict(zip(names, law.coefficients)),
        "low": dict(zip(names, low)),
        "high": dict(zip(names, high)),
        "draws": law.draws,
        "max_error": law.max_error,
        "clipped": law.clipped,
        "one_level": [name for name, axis in (("D", "D"), ("N", "N")) if inputs.levels(axis) == 1],
        "range": {
            "params_non_embedding": [inputs.n.min(), inputs.n.max()],
            "train_pairs": [inputs.d.min(), inputs.d.max()],
        },
    }


def _cells(result: MixtureResult) -> list[dict[str, Any]]:
    sample, inputs = result.sample, result.sample.inputs
    eff, rob = np.exp(sample.eff.means()), np.exp(sample.rob.means())
    counts = sample.eff.counts
    ranges = [_ranges(runs) for runs in (sample.eff, sample.rob)]
    found = []
    for place, cell in enumerate(sample.cells):
        curve = result.surface.values(inputs.at(_CURVE, np.array(cell.n), np.array(cell.d)))
        members = np.flatnonzero(sample.cell == place)
        found.append(
            {
                **cell.where,
                "params_non_embedding": cell.n,
                "train_pairs": cell.d,
                "n_runs": counts[members].sum(),
                "optimum": {
                    goal: {
                        name: getattr(result.cells, name)[goal][place] for name in ("omega", "low", "high")
                    }
                    for goal in GOALS
                },
                "frontier": [
                    {"omega": o, "eff": e, "rob": r} for o, e, r in zip(_CURVE, curve[0][0], curve[1][0])
                ],
                "measured": [
                    {"omega": inputs.omega[i], "eff": eff[i], "rob": rob[i], "n": counts[i]}
                    | {"eff_range": ranges[0][i], "rob_range": ranges[1][i]}
                    for i in members
                ],
            }
        )
    return found


def _ranges(runs: Runs) -> list[list[float]]:
    """Smallest and largest value over the seeds of each configuration."""
    values = np.exp(runs.log_y)
    parts = [values[runs.cluster == place] for place in range(len(runs.counts))]
    return [[float(part.min()), float(part.max())] for part in parts]


def _prediction(result: MixtureResult, n: float, d: float) -> dict[str, Any]:
    found = result.at(n, d)
    return {
        "params_non_embedding": n,
        "train_pairs": d,
        "optimum": {
            goal: {name: getattr(found, name)[goal][0] for name in ("omega", "low", "high")} for goal in GOALS
        },
        "warnings": [warning.to_json() for warning in check_point(result.sample, n, d)],
    }
