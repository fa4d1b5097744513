"""Per-query scores of finished runs: a complete matrix of runs and queries for every kind and collection.

A *kind* is what is tested: ``eff``, ``ood``, ``adv``, ``var/<kind>``, and ``eff+ood`` for all collections as
they are. Sets of one kind that differ in their collection (``ood/<domain>``) stand side by side in it. Dev
sets steer training and are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from retrieval.errors import first_line
from sweeps import Progress
from sweeps.diagnostics import Diagnostic, TableError, diagnose
from sweeps.table import READERS
from sweeps.table.cells import Floats, texts_of

FILE = "scores/queries.parquet"
"""Within a run directory."""

CLEAN = "eff+ood"
"""The kind that joins all collections as they are."""

MAX_QUERIES = 2000
"""Queries of a collection that are analysed unless asked otherwise."""

_SHOWN = 3


@dataclass(frozen=True)
class Kind:
    """The scores of one kind of test."""

    name: str
    runs: pd.DataFrame
    """Labelled rows of the runs table."""
    scores: dict[str, Floats]
    """Collection -> float64[runs, queries]; a run that was not measured on it has NaN throughout."""

    def measured(self, collection: str) -> np.ndarray:
        """Which runs have a collection's scores, bool[runs]."""
        return np.asarray(np.isfinite(self.scores[collection][:, 0]))


@dataclass(frozen=True)
class Scores:
    """All kinds, and what is said of what is not in them."""

    kinds: list[Kind]
    findings: list[Diagnostic]


def place(name: str, collection: str) -> tuple[str, str] | None:
    """Kind and collection of a set; ``None`` for dev sets and for unchanged twins of changed sets.

    ``collection``: the in-domain one, which a set without a domain is of.
    """
    parts = name.split("/")
    if parts[0] == "dev" or (len(parts) > 1 and parts[-1] == "clean"):
        return None
    if parts[0] in ("eff", "ood"):
        return parts[0], "/".join(parts[1:]) or collection
    return "/".join(parts[:2]), "/".join(parts[2:]) or collection


def load_scores(
    runs: pd.DataFrame,
    folder: Path,
    metric: str,
    *,
    max_queries: int = MAX_QUERIES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Scores:
    """The scores of labelled runs whose directories lie in ``folder``.

    Of each collection the queries that all its runs share are kept, at most ``max_queries`` drawn with
    ``seed``. ``progress(done, total)`` is called as files are read.

    Raises TableError: no run has per-query scores, or a file lacks the metric or cannot be read.
    """
    found: dict[tuple[str, str], dict[int, pd.Series]] = {}
    without = []
    with ThreadPoolExecutor(READERS) as pool:
        paths = [folder / str(name) / FILE for name in runs["run"]]
        for row, table in enumerate(pool.map(lambda path: _read(path, metric), paths)):
            if progress is not None:
                progress(row + 1, len(paths))
            if table is None:
                without.append(str(runs["run"].iloc[row]))
                continue
            own = str(texts_of(runs["data"])[row]) if "data" in runs else "in-domain"
            for name, part in table.groupby("set", sort=False, observed=True):
                where = place(str(name), own)
                if where is not None:
                    scores = pd.Series(part[metric].to_numpy(np.float64), index=part["query_id"].to_numpy())
                    found.setdefault(where, {})[row] = scores
    if not found:
        raise TableError(
            f"{folder}: no run has per-query scores ({FILE}); evaluate with eval=quick or eval=full"
        )
    findings = list(_missing(without))
    matrices = {
        where: _matrix(parts, len(runs), where, (max_queries, seed), findings)
        for where, parts in found.items()
    }
    kept = {where: matrix for where, matrix in matrices.items() if matrix is not None}
    return Scores([_kind(name, runs, kept) for name in _kinds(kept)], findings)


def _read(path: Path, metric: str) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    try:
        known = pq.read_schema(path).names
        if metric in known:
            return pd.read_parquet(path, columns=["set", "query_id", metric])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise TableError(f"{path}: cannot be read as a table: {first_line(error)}") from None
    names = ", ".join(name for name in known if name not in ("set", "query_id") and "/" not in name)
    raise TableError(f"--metric {metric}: {path} has no such scores; it has {names}")


def _missing(names: Sequence[str]) -> Iterator[Diagnostic]:
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        text = f"{len(names)} runs have no {FILE}: {', '.join(names[:_SHOWN])}{more}"
        yield diagnose("SCORES_MISSING", text)


def _matrix(
    parts: Mapping[int, pd.Series],
    runs: int,
    where: tuple[str, str],
    limit: tuple[int, int],
    findings: list[Diagnostic],
) -> Floats | None:
    """float64[runs, queries] of the queries that all runs with the set share, by id; ``None`` without one."""
    wholes = [part[np.isfinite(part.to_numpy())] for part in parts.values()]
    shared = wholes[0].index.unique()
    for part in wholes[1:]:
        shared = shared.intersection(part.index)
    name, largest = "/".join(where), max(map(len, wholes))
    if len(shared) < largest:
        text = f"{name}: {len(shared)} of up to {largest} queries have a score in all {len(parts)} runs"
        findings.append(diagnose("QUERIES_NOT_SHARED", text))
    if not len(shared):
        return None
    shared = shared.sort_values()
    most, seed = limit
    if len(shared) > most:
        text = f"{name}: {most} of {len(shared)} queries were drawn with seed {seed} (--max-queries)"
        findings.append(diagnose("QUERIES_SAMPLED", text))
        drawn = np.random.default_rng(seed).choice(len(shared), most, replace=False)
        shared = shared[np.sort(drawn)]
    matrix = np.full((runs, len(shared)), np.nan)
    for row, part in zip(parts, wholes):
        matrix[row] = part.reindex(shared).to_numpy()
    return matrix


def _kinds(matrices: Mapping[tuple[str, str], Floats]) -> list[str]:
    """Names of the kinds: clean ones first, then those with something changed, by name."""
    names = list(dict.fromkeys(kind for kind, _ in matrices))
    clean = [name for name in ("eff", "ood") if name in names]
    joined = [CLEAN] if len(clean) == 2 else []
    return [*clean, *joined, *sorted(name for name in names if name not in clean)]


def _kind(name: str, runs: pd.DataFrame, matrices: Mapping[tuple[str, str], Floats]) -> Kind:
    wanted = name.split("+")
    own = {collection: matrix for (kind, collection), matrix in matrices.items() if kind in wanted}
    rows = np.any([np.isfinite(matrix[:, 0]) for matrix in own.values()], axis=0)
    return Kind(name, runs[rows], {collection: matrix[rows] for collection, matrix in own.items()})
