"""What is attacked: test queries, passages at set ranks for each of them, their texts before and after."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from retrieval.config import AttackConfig
from retrieval.data.testset import EvaluationSet, IntArray, take_queries
from retrieval.errors import DataError
from retrieval.evaluation.adversarial.records import Attacked, Edit, Moment
from retrieval.search.ranking import Ranking

_QUERY_STREAM, _TARGET_STREAM = 1, 2
_SETTINGS = "use the data and eval settings of the run that was attacked"


@dataclass(frozen=True)
class Target:
    """A passage to be promoted for a query."""

    query: int
    """Position of the query in the set of attacked queries."""
    column: int
    """Pool position of the passage."""


@dataclass(frozen=True)
class AdversarialSet:
    """Targets by ascending query, with as many texts before and after."""

    positions: IntArray
    """int64[a], ascending positions of the attacked queries in the whole evaluation set."""
    queries: EvaluationSet
    """The attacked queries."""
    targets: list[Target]
    old_texts: list[str]
    new_texts: list[str]
    edits: list[tuple[Edit, ...]]
    traces: list[tuple[Moment, ...]] = field(default_factory=list)
    """Their ways, where the attack recorded them."""


def columns_of(targets: Sequence[Target]) -> IntArray:
    """Pool positions of targets, int64[t]."""
    return np.array([target.column for target in targets], dtype=np.int64)


def target_texts(evaluation_set: EvaluationSet, targets: Sequence[Target]) -> list[str]:
    """The original texts of the targets."""
    return evaluation_set.collection.passage_texts(evaluation_set.passage_rows[columns_of(targets)])


def replayed_set(attacked: Sequence[Attacked], evaluation_set: EvaluationSet, source: str) -> AdversarialSet:
    """The adversarial set that saved passages make up; no text is searched or changed.

    ``source``: how the file is called in messages.

    Raises:
        DataError: A query or passage is not in the set, a passage is relevant, or its text is another.
    """
    query_positions = {key: index for index, key in enumerate(evaluation_set.query_ids())}
    columns = evaluation_set.columns_of([entry.passage_id for entry in attacked]).tolist()
    for entry, column in zip(attacked, columns, strict=True):
        if entry.query_id not in query_positions:
            raise DataError(f"{source}: query {entry.query_id!r} is not among the test queries; {_SETTINGS}")
        if column < 0:
            raise DataError(f"{source}: passage {entry.passage_id!r} is not in the pool; {_SETTINGS}")
    asked = np.array([query_positions[entry.query_id] for entry in attacked], dtype=np.int64)
    positions, numbers = np.unique(asked, return_inverse=True)
    queries = take_queries(evaluation_set, positions)
    # Stable: a query's targets keep the order of the file.
    order = np.argsort(asked, kind="stable").tolist()
    ordered = [attacked[place] for place in order]
    targets = [Target(int(numbers[place]), columns[place]) for place in order]
    texts = target_texts(queries, targets)
    for entry, target, text in zip(ordered, targets, texts, strict=True):
        if text != entry.old_text:
            raise DataError(f"{source}: passage {entry.passage_id!r} has another text here; {_SETTINGS}")
        relevant = queries.columns[queries.indptr[target.query] : queries.indptr[target.query + 1]]
        if target.column in relevant:
            raise DataError(
                f"{source}: passage {entry.passage_id!r} is relevant to query {entry.query_id!r}; "
                "relevant passages are never attacked"
            )
    return AdversarialSet(
        positions=positions,
        queries=queries,
        targets=targets,
        old_texts=texts,
        new_texts=[entry.new_text for entry in ordered],
        edits=[entry.words for entry in ordered],
    )


def choose_queries(evaluation_set: EvaluationSet, count: int, seed: int) -> IntArray:
    """The ascending positions int64 of at most ``count`` queries; fewer are a subset of more."""
    order = np.random.default_rng((seed, _QUERY_STREAM)).permutation(len(evaluation_set.query_rows))
    return np.sort(order[:count])


def choose_targets(ranking: Ranking, evaluation_set: EvaluationSet, config: AttackConfig) -> list[Target]:
    """Choose one irrelevant passage from each of ``config.targets`` equal blocks of the attacked ranks.

    A block of relevant passages only gives none; neither do ranks beyond the end of the pool. ``ranking``:
    candidates of the attacked queries, at least ``config.last_rank`` deep where the pool is.
    """
    ranks = np.arange(config.first_rank - 1, min(config.last_rank, ranking.columns.shape[1]))
    targets = []
    for query, row in enumerate(evaluation_set.query_rows.tolist()):
        relevant = evaluation_set.columns[evaluation_set.indptr[query] : evaluation_set.indptr[query + 1]]
        generator = np.random.default_rng((config.seed, _TARGET_STREAM, row))
        for block in np.array_split(ranks, config.targets):
            columns = ranking.columns[query, block]
            eligible = columns[(columns >= 0) & ~np.isin(columns, relevant)]
            if len(eligible):
                targets.append(Target(query, int(generator.choice(eligible))))
    return targets
