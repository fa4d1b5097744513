"""Pairs without duplicates: one query per wording, one passage per text, splits that share neither.

A query asked of several passages has them all as relevant, so that no twin is taken for a negative.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from retrieval.data.sources.docstrings import normalise
from retrieval.data.sources.extraction import Pair

MAX_TWINS = 5
"""A summary shared by more passages than this is boilerplate and is dropped with its pairs."""


@dataclass
class Pool:
    """Queries and passages of a domain, by their normalised text."""

    passages: dict[str, Pair] = field(default_factory=dict)
    """Normalised text of a passage -> the first pair that has it."""
    relevant: dict[str, list[str]] = field(default_factory=dict)
    """Normalised query -> normalised texts of its relevant passages, in order of appearance."""
    queries: dict[str, str] = field(default_factory=dict)
    """Normalised query -> the wording that came first."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Pairs by reason; ``repeated`` ones are kept once."""


def pool(pairs: Iterable[Pair], elsewhere: AbstractSet[str] = frozenset()) -> Pool:
    """Merge twins and drop boilerplate; the first of several twins gives name and wording.

    ``elsewhere``: normalised texts of passages that belong to another domain.
    """
    found = Pool()
    relevant: dict[str, dict[str, None]] = defaultdict(dict)
    first: dict[str, Pair] = {}
    for pair in pairs:
        query, text = normalise(pair.query), normalise(pair.text)
        if query in text:
            found.dropped["summary_in_passage"] += 1
        elif text in elsewhere:
            found.dropped["passage_of_other_domain"] += 1
        elif text in relevant[query]:
            found.dropped["repeated"] += 1
        else:
            first.setdefault(text, pair)
            found.queries.setdefault(query, pair.query)
            relevant[query][text] = None
    for query, texts in relevant.items():
        if len(texts) > MAX_TWINS:
            found.dropped["boilerplate_summary"] += len(texts)
            del found.queries[query]
        elif texts:
            found.relevant[query] = list(texts)
            found.passages |= {text: first[text] for text in texts}
    return found


def split(
    relevant: Mapping[str, Sequence[str]], sizes: Mapping[str, int], rest: str | None
) -> dict[str, str]:
    """Assign queries to splits so that no two splits share a query or a passage.

    Queries that share a passage, directly or through others, form a group, which goes to one split
    as a whole. Groups are taken in the order of a stable hash, so the assignment does not depend on
    the order of the queries.

    Args:
        relevant: query -> its relevant passages.
        sizes: split -> number of queries wanted, filled in this order; a group that does not fit is
            passed over.
        rest: split of all other queries, or ``None`` to leave them out.
    """
    groups = sorted(
        _groups(relevant), key=lambda group: hashlib.blake2b(group[0].encode(), digest_size=16).digest()
    )
    assigned: dict[str, str] = {}
    left = dict(sizes)
    for group in groups:
        name = next((name for name, free in left.items() if free >= len(group)), rest)
        if name in left:
            left[name] -= len(group)
        if name is not None:
            assigned |= dict.fromkeys(group, name)
    return assigned


def _groups(relevant: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Queries connected through shared passages, each group sorted."""
    parent = {query: query for query in relevant}

    def root(query: str) -> str:
        while parent[query] != query:
            parent[query] = parent[parent[query]]
            query = parent[query]
        return query

    owner: dict[str, str] = {}
    for query, texts in relevant.items():
        for text in texts:
            parent[root(query)] = root(owner.setdefault(text, query))
    groups: dict[str, list[str]] = defaultdict(list)
    for query in sorted(relevant):
        groups[root(query)].append(query)
    return list(groups.values())
