"""The evaluation suite: one retriever in-domain and on every OOD test domain, with reference rows beside it.

Beside the test sets stand the dev sets: the in-domain dev split and the robust-dev domains, measured by the
same code with the same settings. They alone may steer anything; they have no reference rows.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.config import EvalConfig
from retrieval.data.collection import Collection
from retrieval.data.testset import EvaluationSet, build_evaluation_set, first_queries
from retrieval.evaluation.adversarial.records import Record
from retrieval.evaluation.contrastive_entropy import (
    check_candidates,
    draws_of,
    negative_candidates,
    standard_error,
)
from retrieval.evaluation.one_set import SetScores, measure, measure_together
from retrieval.evaluation.progress import Steps
from retrieval.evaluation.roles import DEV, dev_splits, evaluation_split
from retrieval.models.flops import Work
from retrieval.run.metric_names import CONTRASTIVE_ENTROPY, ENTROPY_ERROR, RANKING, REFERENCES
from retrieval.search.bm25 import bm25_metrics
from retrieval.search.reranking import stage_name, with_candidates
from retrieval.search.retriever import Retriever

Reference: TypeAlias = Callable[[EvaluationSet], dict[str, NDArray[np.float64]]]
"""Metric -> float64[q], the scores of every query of a set by something that runs are compared with."""

SHARED_BYTES = 2**26
"""Rows of two different pools of a collection that may be held at once, to encode their passages once."""


@dataclass(frozen=True)
class SuiteSets:
    """The evaluation sets of a suite: test sets, and dev sets that have no reference rows."""

    eff: EvaluationSet
    """In-domain."""
    ood: dict[str, EvaluationSet]
    """OOD test domains by name."""
    dev: dict[str, EvaluationSet] = field(default_factory=dict)
    """Dev sets as of :func:`dev_splits`: ``eff`` and ``ood/<domain>`` of the robust-dev domains."""

    def items(self) -> Iterator[tuple[str, EvaluationSet]]:
        """Metric prefix and set: the tests, then ``dev/eff`` and ``dev/ood/<domain>``."""
        yield from self.tests()
        for name, evaluation_set in self.dev.items():
            yield f"{DEV}/{name}", evaluation_set

    def tests(self) -> Iterator[tuple[str, EvaluationSet]]:
        """Metric prefix and test set: ``eff``, then ``ood/<domain>``. They have reference rows."""
        yield "eff", self.eff
        for domain, evaluation_set in self.ood.items():
            yield f"ood/{domain}", evaluation_set


@dataclass(frozen=True)
class Measured:
    """What the suite measured, an attack, or both."""

    metrics: dict[str, float]
    """Flat: ``eff/…``, ``ood/…`` (mean over domains), ``ood/<domain>/…``, the same under ``bm25/…``,
    ``untrained/…`` and (own metrics alone) ``dev/…``, and ``eval/…``; of varied queries ``var/…`` and
    ``bm25/var/…``, of probes ``bias/…``; of an attack ``adv/…``, ``cost/attack_seconds`` and
    ``cost/attack_queries``."""
    scores: dict[str, SetScores]
    """Scores by metric prefix (``eff``, ``ood/<domain>``, ``dev/eff``, ``dev/ood/<domain>``; of the attacked
    queries ``adv`` with the attacked passages, ``adv/clean`` without; of varied ones ``var/<kind>``)."""
    attacked: list[Record] | None = None
    """One entry a target, by query, and one an inserted passage; ``None`` without an attack."""
    seconds: float = 0.0
    """Of the suite, its variations and its probes, without the attack."""
    about: dict[str, str] = field(default_factory=dict)
    """What results say beside numbers: ``eval/first_stage`` where candidates were ranked anew."""
    work: Work = field(default_factory=Work)
    """Forward passes of pairs, and of texts that are in no collection, of the suite."""
    attack_passes: dict[str, tuple[float, Work]] = field(default_factory=dict)
    """Attack -> forward passes that it asked for, and the work of the texts of which these are."""

    @property
    def seconds_per_query(self) -> float:
        """Of encoding a query of the in-domain test set and of ranking for it."""
        own = self.scores["eff"]
        return own.seconds / len(own.evaluation_set.query_rows)


def build_sets(
    in_domain: Collection,
    ood: Mapping[str, Collection],
    config: EvalConfig,
    robust_dev: Mapping[str, Collection] | None = None,
) -> SuiteSets:
    """The evaluation sets of a suite's collections, from which negatives can be drawn; domains by name.

    ``in_domain`` gives ``eff`` and, where it has a dev split beside its test, ``dev/eff``. Of ``config``,
    ``max_queries``, ``pool``, ``negatives`` and ``seed`` are read.

    Raises:
        ConfigError: ``config.negatives`` is more than a query's irrelevant candidates.
        DataError: A collection has neither a test nor a dev split.
    """
    dev = dev_splits(in_domain, robust_dev or {})
    return SuiteSets(
        eff=_build_set(in_domain, evaluation_split(in_domain), config),
        ood={name: _build_set(part, evaluation_split(part), config) for name, part in ood.items()},
        dev={name: _build_set(*part, config) for name, part in dev.items()},
    )


def _build_set(collection: Collection, split: str, config: EvalConfig) -> EvaluationSet:
    built = build_evaluation_set(collection, split, config, drop_identical=collection.drop_identical)
    check_candidates(built, negative_candidates(built, config.seed), config.negatives)
    return built


def evaluate_suite(
    retriever: Retriever,
    sets: SuiteSets,
    config: EvalConfig,
    cache: Path,
    untrained: Reference | None = None,
    *,
    keep: bool = False,
    steps: Steps | None = None,
) -> Measured:
    """Measure a retriever on all sets, in memory that does not grow with the corpora.

    Of ``config``, ``bm25`` and what :func:`measure` needs are read. The BM25 baseline is kept in ``cache``.
    ``untrained``: the model before training, asked for the test sets alone; ``None`` leaves its row out.
    ``keep``: keep all encoded rows of the in-domain test set, in a file of ``cache`` that has no name.
    ``steps``: is told each set's prefix as its turn comes; a dev set that was measured with its test set has
    ended by then.

    Raises:
        ParetrieveError: The retriever returned rows of the wrong number, or scores that are not finite.
    """
    references: dict[str, Reference] = {}
    if config.bm25:
        references["bm25"] = lambda part: bm25_metrics(part, cache)
    if untrained is not None:
        references["untrained"] = untrained
    tests = dict(sets.tests())
    by_pair = retriever.scores.by_pair
    asked = dict(sets.items())
    if by_pair:
        asked = {prefix: _reranked(part, config, cache) for prefix, part in asked.items()}
    scores: dict[str, SetScores] = {}
    for prefix in asked:
        (steps or Steps()).begin(prefix)
        if prefix not in scores:
            scores |= _measure_collection(retriever, prefix, asked, config, cache, keep)
        scores[prefix] = _with_references(scores[prefix], references if prefix in tests else {})
    scores = {prefix: scores[prefix] for prefix in asked}
    metrics: dict[str, float] = {}
    for prefix, part in scores.items():
        metrics |= set_metrics(prefix, part, by_pair)
        where = _place_of_counts(prefix)
        metrics[f"{where}/queries"] = float(len(part.evaluation_set.query_rows))
        metrics[f"{where}/pool"] = float(len(part.evaluation_set.passage_rows))
    metrics |= _means_over_domains(metrics, list(scores))
    draws = draws_of(retriever.scores, config.draws)
    metrics |= scores["eff"].statistics
    metrics |= {"eval/negatives": float(config.negatives), "eval/draws": float(draws)}
    about = {"eval/first_stage": stage_name(config)} if by_pair else {}
    return Measured(metrics, scores, about=about, work=retriever.scores.work)


def _measure_collection(
    retriever: Retriever,
    prefix: str,
    asked: Mapping[str, EvaluationSet],
    config: EvalConfig,
    cache: Path,
    keep: bool,
) -> dict[str, SetScores]:
    """Measure the set of ``prefix``, and with it those that take passages which it encodes."""
    own = asked[prefix]
    if own.candidates is not None:
        return {prefix: measure(retriever, own, config, cache)}
    together = {name: part for name, part in asked.items() if _streams_with(part, own, retriever)}
    kept = [keep and name == "eff" for name in together]
    measured = measure_together(retriever, list(together.values()), config, cache, keep=kept)
    return dict(zip(together, measured, strict=True))


def _streams_with(part: EvaluationSet, own: EvaluationSet, retriever: Retriever) -> bool:
    """Whether ``part`` is measured together with ``own``: both rank whole pools of the same collection.

    Where pools differ, the rows of each are held beside those of both together, so they have to be few bytes.
    """
    if part is own:
        return True
    if part.collection.fingerprint != own.collection.fingerprint:
        return False
    held = retriever.row_bytes("passages") * (len(part.passage_rows) + len(own.passage_rows))
    return np.array_equal(part.passage_rows, own.passage_rows) or 0 < held <= SHARED_BYTES


def set_metrics(prefix: str, part: SetScores, sampled: bool) -> dict[str, float]:
    """The means of a set's scores by key; ``sampled``: and the error of a mean over a sample of queries."""
    metrics = {
        _key(prefix, name): _mean(name, values, part.evaluation_set) for name, values in part.queries.items()
    }
    metrics[f"{prefix}/{CONTRASTIVE_ENTROPY}"] = float(part.pairs.mean())
    if sampled:
        metrics[f"{prefix}/{ENTROPY_ERROR}"] = standard_error(part.pairs, part.evaluation_set)
    return metrics


def _reranked(evaluation_set: EvaluationSet, config: EvalConfig, cache: Path) -> EvaluationSet:
    """What of a set a model is asked for whose every score takes a pass: fewer queries, fewer candidates."""
    return with_candidates(first_queries(evaluation_set, config.pair_queries, config.seed), config, cache)


def _with_references(own: SetScores, references: Mapping[str, Reference]) -> SetScores:
    queries = dict(own.queries)
    for name, reference in references.items():
        queries |= {f"{name}/{metric}": values for metric, values in reference(own.evaluation_set).items()}
    return replace(own, queries=queries)


def _mean(name: str, values: NDArray[np.float64], evaluation_set: EvaluationSet) -> float:
    """The mean over queries; of contrastive entropy, by definition, that over relevant pairs."""
    pairs = np.diff(evaluation_set.indptr)
    return float(np.average(values, weights=pairs) if name.endswith(CONTRASTIVE_ENTROPY) else values.mean())


def _key(prefix: str, name: str) -> str:
    """The metric's key: ``eff/ndcg@10``, and ``bm25/eff/ndcg@10`` for a reference's."""
    reference, _, metric = name.rpartition("/")
    return f"{reference}/{prefix}/{metric}" if reference else f"{prefix}/{name}"


def _place_of_counts(prefix: str) -> str:
    """``eval``, ``eval/<domain>``, ``eval/dev/eff`` or ``eval/dev/ood/<domain>``."""
    if prefix.startswith(f"{DEV}/"):
        return f"eval/{prefix}"
    return "eval" + prefix.removeprefix("eff").removeprefix("ood")


def _means_over_domains(metrics: dict[str, float], prefixes: list[str]) -> dict[str, float]:
    """``ood/<metric>``, ``dev/ood/<metric>``, ``bm25/ood/<metric>``, …: means over the domains.

    Errors of independent samples add up by their squares.
    """
    means = {}
    for group in ("ood", f"{DEV}/ood"):
        domains = [prefix for prefix in prefixes if prefix.startswith(f"{group}/")]
        errors = [
            metrics[f"{domain}/{ENTROPY_ERROR}"]
            for domain in domains
            if f"{domain}/{ENTROPY_ERROR}" in metrics
        ]
        if errors:
            means[f"{group}/{ENTROPY_ERROR}"] = float(np.linalg.norm(errors) / len(errors))
        for start in ("", *(f"{reference}/" for reference in REFERENCES)):
            for name in (CONTRASTIVE_ENTROPY, *RANKING):
                keys = [f"{start}{domain}/{name}" for domain in domains]
                values = [metrics[key] for key in keys if key in metrics]
                if values:
                    means[f"{start}{group}/{name}"] = float(np.mean(values))
    return means


def save_scores(scores: Mapping[str, SetScores], folder: Path) -> None:
    """Write per-query and per-pair scores as two Parquet files into ``folder``.

    ``queries.parquet``: ``set, query_id`` and one float32 column a metric; ``pairs.parquet``:
    ``set, query_id, passage_id, contrastive_entropy``.
    """
    import pandas as pd

    queries, pairs = [], []
    for prefix, part in scores.items():
        identifiers = part.evaluation_set.query_ids()
        columns = {name: values.astype(np.float32) for name, values in part.queries.items()}
        queries.append(pd.DataFrame({"set": prefix, "query_id": identifiers, **columns}))
        of_pairs = {
            "set": prefix,
            "query_id": np.array(identifiers, dtype=object)[part.evaluation_set.pair_queries()],
            "passage_id": part.evaluation_set.passage_ids(part.evaluation_set.columns),
            CONTRASTIVE_ENTROPY: part.pairs.astype(np.float32),
        }
        pairs.append(pd.DataFrame(of_pairs))
    folder.mkdir(parents=True, exist_ok=True)
    for tables, path in ((queries, folder / "queries.parquet"), (pairs, folder / "pairs.parquet")):
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        pd.concat(tables, ignore_index=True).to_parquet(temporary, index=False, compression="zstd")
        temporary.replace(path)
