"""Which passages may never be a negative of which query, whatever the split and whatever the id."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.data.arrays import contained
from retrieval.data.cache import build_once, digest
from retrieval.data.collection import Collection
from retrieval.data.records import hash_text

_VERSION = "relevance 1"
_NO_TEXT = np.uint64(hash_text(""))


class Relevance:
    """All judged-relevant pairs of a collection, of every split, compared by text.

    A passage with the same text as a relevant one (without case and white space) counts as relevant, and
    a passage without text is no candidate at all.
    """

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / "relevance.json").read_text(encoding="utf-8"))
        self.empty_text = int(meta["empty_text"])
        self._texts: NDArray[np.int32] = np.load(folder / "texts.npy", mmap_mode="r", allow_pickle=False)
        self._keys: NDArray[np.int64] = np.load(folder / "keys.npy", mmap_mode="r", allow_pickle=False)
        self.most = int(meta["most"])
        """The largest number of relevant passages of any query, copies included."""

    @property
    def passages(self) -> int:
        """Passages of the collection."""
        return len(self._texts)

    def of(self, query_rows: NDArray[np.int64], passage_rows: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether passages are relevant to queries: bool, of the shape the two broadcast to."""
        keys = np.asarray(query_rows) * np.int64(len(self._texts)) + self._texts[passage_rows]
        return contained(keys, self._keys)

    def empty(self, passage_rows: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether passages have no text."""
        found: NDArray[np.bool_] = self._texts[passage_rows] == self.empty_text
        return found


def relevance_of(collection: Collection, cache: Path) -> Relevance:
    """The relevant pairs of a collection, built once under ``cache/relevance`` and memory-mapped."""
    folder = cache / "relevance" / digest([_VERSION, collection.fingerprint])[:32]
    build_once(folder, lambda target: _build(collection, target), describe=f"relevance of {collection.name}")
    return Relevance(folder)


def _build(collection: Collection, target: Path) -> None:
    """Number the distinct texts and write a key ``query row · passages + text`` for each relevant pair."""
    distinct, texts = np.unique(collection.passage_hashes(), return_inverse=True)
    copies = np.bincount(texts)
    place = int(np.searchsorted(distinct, _NO_TEXT))
    has_empty = place < len(distinct) and distinct[place] == _NO_TEXT
    judged = [collection.judgements(split) for split in collection.splits]
    queries = np.concatenate([part.query_rows for part in judged])
    rows = np.concatenate([part.passage_rows for part in judged])
    if collection.drop_identical:
        # The passage that is the query itself is no negative of it either.
        asked = np.unique(queries)
        own = collection.passage_rows(collection.query_ids(asked))
        queries, rows = np.concatenate([queries, asked[own >= 0]]), np.concatenate([rows, own[own >= 0]])
    keys = np.unique(queries * np.int64(len(texts)) + texts[rows])
    _, owners = np.unique(keys // len(texts), return_inverse=True)
    most = np.bincount(owners, weights=copies[keys % len(texts)]).max()
    np.save(target / "texts.npy", texts.astype(np.int32), allow_pickle=False)
    np.save(target / "keys.npy", keys, allow_pickle=False)
    meta = {"empty_text": place if has_empty else -1, "most": int(most)}
    (target / "relevance.json").write_text(json.dumps(meta), encoding="utf-8")
