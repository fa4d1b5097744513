"""Nested subsets of the training pairs, and the proof that training and test share no passage."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from retrieval.data.collection import Collection, Judgements
from retrieval.data.records import hash_text
from retrieval.errors import ConfigError

TRAIN = "train"
OVERLAP = ("refuse", "drop")
_NO_TEXT = np.uint64(hash_text(""))


def subset_size(pairs: int, frac: float) -> int:
    """Pairs in the subset: the ranks 0, 1, … below frac·D, and at least one."""
    # Rounding keeps 0.1·30 = 3.0000000000000004 from counting as more than 3.
    return min(pairs, max(1, math.ceil(round(frac * pairs, 6))))


def subset(
    judgements: Judgements, query_ids: Sequence[str], passage_ids: Sequence[str], frac: float, seed: int
) -> NDArray[np.int64]:
    """Choose the pairs whose rank, by a stable hash of seed and ids, is below frac·D.

    The same seed gives nested subsets (0.1 ⊂ 0.5 ⊂ 1), on every machine and for any order of pairs.

    Args:
        judgements: D pairs.
        query_ids: id of the query of each pair (D of them), as from ``Collection.query_ids``.
        passage_ids: id of the passage of each pair (D of them).
        frac: share of the pairs, 0 < frac ≤ 1.
        seed: another seed gives an unrelated subset.

    Returns:
        Indexes into ``judgements``, ascending (int64[k]).

    Raises:
        ConfigError: frac is not in (0, 1].
    """
    if not 0 < frac <= 1:
        raise ConfigError(f"data.frac={frac} is out of range; it must be above 0 and at most 1")
    salt = hashlib.blake2b(str(int(seed)).encode(), digest_size=8)
    hashes = np.empty(len(judgements), dtype=np.uint64)
    for at, (query, passage) in enumerate(zip(query_ids, passage_ids, strict=True)):
        pair = salt.copy()
        pair.update(f"\t{query}\t{passage}".encode())
        hashes[at] = int.from_bytes(pair.digest(), "little")
    chosen = np.argsort(hashes, kind="stable")[: subset_size(len(judgements), frac)]
    return np.sort(chosen)


@dataclass(frozen=True, eq=False)
class Overlap:
    """Training pairs whose passage is also relevant in a dev or test split."""

    drop: dict[str, NDArray[np.int64]]
    """Training collection -> ascending indexes into its training judgements (mostly empty)."""
    counts: dict[str, int]
    """``overlap/<training collection>/<test collection>``: such pairs; only those above 0."""

    def keep(self, name: str, judgements: Judgements) -> Judgements:
        """The training judgements of the collection ``name`` without the overlapping pairs."""
        kept = np.ones(len(judgements), dtype=bool)
        kept[self.drop[name]] = False
        return judgements.take(np.flatnonzero(kept))


def check_disjoint(
    in_domain: Collection,
    robust: Mapping[str, Collection],
    ood: Mapping[str, Collection],
    overlap: str = "refuse",
    robust_dev: Mapping[str, Collection] | None = None,
) -> Overlap:
    """Check that roles are disjoint and that no training passage is relevant in a held-out split.

    Compared are the texts without case and white space, so copies under other ids are found, within
    a collection and across collections. Held out are the dev and test splits of the in-domain
    collection, the dev splits of the robust-training domains, the dev and test splits of the robust-dev
    domains and the test splits of the OOD domains.

    ``overlap``: ``refuse``, or ``drop`` to have the training pairs named instead.

    Raises:
        ConfigError: a collection has two roles; pairs overlap under ``refuse``; ``overlap`` is
            neither of its two values.
    """
    if overlap not in OVERLAP:
        raise ConfigError(f"data.overlap={overlap!r} is unknown; choose one of {', '.join(OVERLAP)}")
    robust_dev = robust_dev or {}
    _check_contents(in_domain, {"robust": robust, "robust_dev": robust_dev, "ood": ood})
    training = {in_domain.name: in_domain, **robust}
    held_out = {in_domain.name: _relevant(in_domain, ("dev", "test"))}
    held_out |= {name: _relevant(collection, ("dev",)) for name, collection in robust.items()}
    held_out |= {name: _relevant(collection, ("dev", "test")) for name, collection in robust_dev.items()}
    held_out |= {name: _relevant(collection, ("test",)) for name, collection in ood.items()}
    drop: dict[str, NDArray[np.int64]] = {}
    counts: dict[str, int] = {}
    for name, collection in training.items():
        texts = collection.passage_hashes()[collection.judgements(TRAIN).passage_rows]
        shared = np.zeros(len(texts), dtype=bool)
        for other, hashes in held_out.items():
            found = np.isin(texts, hashes)
            if found.any():
                counts[f"overlap/{name}/{other}"] = int(found.sum())
            shared |= found
        drop[name] = np.flatnonzero(shared)
        if len(drop[name]) == len(texts):
            raise ConfigError(
                f"every training pair of {name} has a passage that is relevant in a test "
                f"({_words(counts)}); choose other collections"
            )
    if counts and overlap == "refuse":
        raise ConfigError(
            f"training pairs have passages that are also relevant in a test: {_words(counts)}; "
            "leave these pairs out of training with data.overlap=drop"
        )
    return Overlap(drop, counts)


def _relevant(collection: Collection, splits: Iterable[str]) -> NDArray[np.uint64]:
    """Hashes of the passages relevant in any of ``splits``; an empty passage is no copy of another."""
    hashes = collection.passage_hashes()
    found = np.zeros(len(hashes), dtype=bool)
    for split in set(splits) & set(collection.splits):
        found[collection.judgements(split).passage_rows] = True
    relevant = np.unique(hashes[found])
    not_empty: NDArray[np.uint64] = relevant[relevant != _NO_TEXT]
    return not_empty


def _check_contents(in_domain: Collection, roles: Mapping[str, Mapping[str, Collection]]) -> None:
    """Refuse a name or a content in two roles; ``roles``: key of ``data`` -> collections by name."""
    for first, second in combinations((*roles, "path"), 2):
        others = {in_domain.name} if second == "path" else set(roles[second])
        for name in sorted(set(roles[first]) & others):
            raise ConfigError(f"{name} is in data.{first} and in data.{second}; a collection has one role")
    seen = {in_domain.fingerprint: f"the in-domain collection {in_domain.name}"}
    for key, collections in roles.items():
        for name, collection in collections.items():
            if collection.fingerprint in seen:
                raise ConfigError(
                    f"data.{key} {name} has the same content as {seen[collection.fingerprint]}; "
                    "each collection has one role, so remove one of them"
                )
            seen[collection.fingerprint] = f"data.{key} {name}"


def _words(counts: Mapping[str, int]) -> str:
    parts = ([*key.split("/"), str(count)] for key, count in counts.items())
    return ", ".join(f"{count} of {name}'s with {other}" for _, name, other, count in parts)
