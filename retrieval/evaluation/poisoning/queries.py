"""The queries that a poisoning attacker sees: of the training or dev split, never of the test."""

import numpy as np

from retrieval.data.testset import EvaluationSet, IntArray
from retrieval.errors import ConfigError

TRAIN, DEV, AUTO = "train", "dev", "auto"

_STREAM = 3
"""Of the seed of an attack, beside those of queries and targets."""


def seen_queries(evaluation_set: EvaluationSet, split: str, count: int, seed: int) -> IntArray:
    """Ascending rows int64 of at most ``count`` queries of a collection, none of them a test query.

    Left out are the queries of the whole split that the set was chosen from, and those with the text of one
    of them, whatever case and white space. ``split``: ``train``, ``dev``, or ``auto`` for the first that
    there is and that the set is not of. Fewer queries are a subset of more.

    Raises:
        ConfigError: There is no such split, or no query is left.
    """
    collection = evaluation_set.collection
    usable = [name for name in (TRAIN, DEV) if name in collection.splits and name != evaluation_set.split]
    chosen = usable[:1] if split == AUTO else [name for name in usable if name == split]
    if not chosen:
        raise ConfigError(
            f"attack.poison.split={split}: {collection.name} has no queries for the attacker; it has "
            f"{', '.join(collection.splits)}, of which {evaluation_set.split} is the test; add "
            "qrels/train.tsv or qrels/dev.tsv, or name the other attacks: attack=[wsra,typo,paragraph]"
        )
    tested = np.union1d(
        np.asarray(collection.judgements(evaluation_set.split).query_rows), evaluation_set.query_rows
    )
    rows = np.setdiff1d(np.asarray(collection.judgements(chosen[0]).query_rows), tested)
    hashes = np.asarray(collection.query_hashes())
    rows = rows[~np.isin(hashes[rows], hashes[tested])]
    if not len(rows):
        raise ConfigError(
            f"attack.poison.split={split}: every {chosen[0]} query of {collection.name} is a test query, "
            "too; choose another split"
        )
    order = np.random.default_rng((seed, _STREAM)).permutation(len(rows))
    seen: IntArray = np.sort(rows[order[:count]]).astype(np.int64)
    return seen
