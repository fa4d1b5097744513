"""Where the numbers come from: the checklist of a scaling-law paper, and the commands to reproduce."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from retrieval.run.files import read_json
from sweeps.fitting.agreement import NEGATIVES
from sweeps.fitting.configurations import FLOPS, W
from sweeps.fitting.points import PAIRS, SIZE
from sweeps.fitting.result import FitResult
from sweeps.report.page import percent
from sweeps.report.scaling import domains
from sweeps.table.cells import distinct, numbers
from sweeps.table.runs import Collected

STATED = "provenance/"
"""How the names of columns begin that say which code and machine made a row (``sweeps study``)."""

Answers = list[tuple[str, str | None]]


def checklist(collected: Collected, fits: Sequence[FitResult], folder: Path | None) -> Answers:
    """Questions of the (Mis)Fitting checklist (Li et al. 2025) and this sweep's answers.

    An answer is ``None`` where the runs do not record it.
    """
    runs = collected.frame
    manifests, settings = _records(runs, folder)
    size = "parameters without “embedding” in their name, projection included (arXiv 2403.18684)"
    pairs = "training query-passage pairs available to the run, not pairs seen; subsets are nested"
    return [
        ("What N counts", f"{size}; {_range(runs, SIZE)}" if SIZE in runs else None),
        ("What D counts", f"{pairs}; {_range(runs, PAIRS)}" if PAIRS in runs else None),
        ("Models", _listed(runs, "model")),
        ("Collections", _listed(runs, "data")),
        ("Seeds", _seeds(runs)),
        ("Training", _training(runs, settings)),
        ("What is measured", _measured(runs)),
        ("Which checkpoint is evaluated", "the last step of every run; nothing is selected on test data"),
        *_fitting(fits),
        ("Runs left out", f"{collected.summary()}; no finished run is dropped from a fit"),
        ("Compute", _compute(runs)),
        ("Code", _code(manifests)),
        ("Data fingerprint", _fingerprint(runs)),
        ("Hardware", _hardware(manifests)),
    ]


def _records(runs: pd.DataFrame, folder: Path | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    if folder is None or "run" not in runs:
        return _stated(runs), []
    paths = [folder / str(run) for run in runs["run"]]
    manifests = [record for path in paths if (record := read_json(path / "manifest.json")) is not None]
    settings = []
    for path in paths:
        file = path / "config.yaml"
        loaded = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
        if isinstance(loaded, dict):
            settings.append(loaded)
    return manifests, settings


def _stated(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """What the table itself says of code and machine, as far as the checklist asks: one record a row."""
    rows = runs[[name for name in map(str, runs) if name.startswith(STATED)]]
    rows = rows.rename(columns=lambda name: str(name).removeprefix(STATED)).astype(object)
    found = rows.where(rows.notna(), None).drop_duplicates().to_dict(orient="records")
    return [
        {
            "git": {"commit": row.get("commit"), "dirty": row.get("dirty")},
            "versions": {"torch": row.get("torch")},
            "cpu": {"model": row.get("cpu")},
            "device": row.get("device"),
            "precision": row.get("precision"),
        }
        for row in found
    ]


def _range(runs: pd.DataFrame, column: str) -> str:
    values = numbers(runs[column])
    values = np.unique(values[np.isfinite(values)])
    return f"{len(values)} values from {values[0]:,.0f} to {values[-1]:,.0f}" if len(values) else "not stated"


def _listed(runs: pd.DataFrame, column: str) -> str | None:
    return ", ".join(distinct(runs[column])) if column in runs else None


def _seeds(runs: pd.DataFrame) -> str | None:
    if "seed" not in runs:
        return None
    counts = runs.groupby("configuration")["seed"].nunique()
    listed = ", ".join(distinct(runs["seed"])) or "not stated"
    low, high = int(counts.min()), int(counts.max())
    each = low if low == high else f"{low} to {high}"
    return f"{listed}; {each} a configuration; seeds are replicates of a configuration, not points of a fit"


def _training(runs: pd.DataFrame, settings: list[dict[str, Any]]) -> str | None:
    parts = []
    if "train/pairs_seen" in runs:
        seen = runs["train/pairs_seen"].dropna().unique()
        parts += [f"{' or '.join(f'{value:,.0f}' for value in sorted(seen))} pairs seen"] if len(seen) else []
    for key in ("steps", "batch_size", "lr", "warmup", "weight_decay", "clip", "precision"):
        values = _distinct(record.get("train", {}).get(key) for record in settings)
        if values:
            parts.append(f"{key} {' or '.join(values)}")
    return ", ".join(parts) or None


def _measured(runs: pd.DataFrame) -> str:
    text = " or ".join(distinct(runs[NEGATIVES]) if NEGATIVES in runs else [str(W)])
    draws = distinct(runs["eval/draws"]) if "eval/draws" in runs else []
    drawn = f", mean of {' or '.join(draws)} draws" if draws else ""
    names = domains(runs)
    tests = f"; OOD = unweighted mean over {', '.join(names)}" if names else ""
    return f"contrastive entropy in nats against W = {text} random irrelevant passages{drawn}{tests}"


_OF_FITS = ("Form of the law", "Objective of the fit", "Starts", "Intervals", "Goodness of fit", "Hold-out")


def _fitting(fits: Sequence[FitResult]) -> Answers:
    if not fits:
        return [(question, None) for question in _OF_FITS]
    options = fits[0].options
    forms = ", ".join(sorted({f"{fit.law}: {fit.form.formula}" for fit in fits}))
    agreeing = min(fit.starts["agreeing"] / fit.starts["tried"] for fit in fits)
    errors = [fit.holdout.relative_error for fit in fits if fit.holdout.relative_error is not None]
    worst = f"; worst relative error {percent(max(errors, key=abs))}" if errors else ""
    r2 = sorted(fit.r2["log"] for fit in fits)
    goodness = f"R² of ln CE: median {r2[len(r2) // 2]:.4f}, lowest {r2[0]:.4f}"
    answers = [
        forms,
        f"{options.loss} on ln residuals of configuration means, weighted by replicates",
        f"{options.starts} or more for each fit; at least {100 * agreeing:.0f} % reach the optimum",
        f"{100 * options.level:g} % profile likelihood; bands from a cluster bootstrap",
        f"{goodness}; it says nothing beyond the data",
        f"largest N (or D) left out, refitted, predicted{worst}",
    ]
    return list(zip(_OF_FITS, answers))


def _compute(runs: pd.DataFrame) -> str | None:
    if FLOPS not in runs or runs[FLOPS].isna().all():
        return None
    hours = runs["cost/train_seconds"].sum() / 3600 if "cost/train_seconds" in runs else None
    return f"{runs[FLOPS].sum():.3g} training FLOPs" + ("" if hours is None else f" in {hours:.2g} hours")


def _code(manifests: list[dict[str, Any]]) -> str | None:
    states = [record.get("git") or {} for record in manifests]
    commits = _distinct(
        f"{state['commit'][:12]}{' with uncommitted changes' if state.get('dirty') else ''}"
        for state in states
        if state.get("commit")
    )
    versions = [record.get("versions") or {} for record in manifests]
    torch = _distinct(found.get("torch") for found in versions)
    parts = ([f"commit {' and '.join(commits)}"] if commits else []) + [f"torch {v}" for v in torch]
    return ", ".join(parts) or None


def _hardware(manifests: list[dict[str, Any]]) -> str | None:
    cpu = [record.get("cpu") or {} for record in manifests]
    models = _distinct(record.get("model") for record in cpu)
    devices = _distinct(record.get("device") for record in manifests)
    precision = _distinct(record.get("precision") for record in manifests)
    return ", ".join([*models, *devices, *(f"precision {value}" for value in precision)]) or None


def _fingerprint(runs: pd.DataFrame) -> str | None:
    if not {"data", "data/fingerprint"} <= set(runs):
        return None
    pairs = runs[["data", "data/fingerprint"]].dropna().drop_duplicates().sort_values("data")
    found = [f"{row['data']} {str(row['data/fingerprint'])[:16]}" for _, row in pairs.iterrows()]
    return ", ".join(found) or None


def _distinct(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values if value not in (None, "", {})))
