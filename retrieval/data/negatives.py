"""Mined negatives: which passages a query draws hard negatives from, and which are never one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.data.arrays import contained
from retrieval.data.cache import build_once, digest
from retrieval.data.collection import Collection
from retrieval.data.records import hash_text

MANIFEST = "manifest.json"
LAG = 1
"""Steps between a refresh and the first batch that uses it: with one, a trainer that makes a batch ahead
draws from the same lists as one that does not."""

_STREAM = 0x6861_7264
"""Keeps the random numbers of negatives apart from those of pairs."""
_REDRAWS = 16
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


@dataclass(frozen=True, eq=False)
class NegativeLists:
    """The best irrelevant passages of each training query of a collection, memory-mapped."""

    query_rows: NDArray[np.int64]
    """int64[q], ascending."""
    rows: NDArray[np.int32]
    """int32[q, depth] passage rows, best first; −1 pads a list that is shorter."""
    scores: NDArray[np.float32]
    """float32[q, depth]; −inf where padded."""
    counts: dict[str, int] = field(default_factory=dict)
    """What was kept and what was filtered, for manifest and result."""

    @classmethod
    def open(cls, folder: Path) -> NegativeLists:
        """Map the lists that :func:`retrieval.search.mining.mine` wrote into ``folder``."""
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        query_rows, rows, scores = (
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in ("query_rows", "rows", "scores")
        )
        return cls(query_rows, rows, scores, manifest["counts"])


class HardNegatives:
    """Draws hard negatives for the queries of a batch, as a pure function of the key it is given.

    With ``refresh`` = R the lists of generation k, mined with the model after k·R steps, serve the
    steps from k·R + :data:`LAG` on; until then serve the lists of generation k − 1.
    """

    def __init__(self, lists: NegativeLists, relevance: Relevance, refresh: int = 0) -> None:
        self.relevance, self.refresh = relevance, refresh
        self.query_rows = lists.query_rows
        """int64[q], ascending: the queries that have a list."""
        self.depth = int(lists.rows.shape[1])
        """Length of a list."""
        self._generations: dict[int, NegativeLists] = {0: lists}
        self.counts = self._newest()
        """Counts of the newest generation, prefixed ``negatives/``; a resumed training takes them
        from its checkpoint, since one that is over mines no more."""

    def _newest(self) -> dict[str, int]:
        counts = self._generations[max(self._generations)].counts
        return {f"negatives/{name}": count for name, count in counts.items()}

    def generation(self, step: int) -> int:
        """Which generation of lists serves a step."""
        return max(0, step - LAG) // self.refresh if self.refresh else 0

    def use(self, generation: int, lists: NegativeLists) -> None:
        """Serve the steps of ``generation`` from ``lists``; only its predecessor is kept beside it."""
        self._generations[generation] = lists
        self.counts = self._newest()
        for older in [known for known in self._generations if known < generation - 1]:
            del self._generations[older]

    def draw(
        self, query_rows: NDArray[np.int64], count: int, step: int, key: tuple[int, ...]
    ) -> NDArray[np.int64]:
        """``count`` negatives of each query (rows int64[n]): rows int64[n, count].

        From a list nothing is drawn twice; what it lacks is filled up with random irrelevant passages.
        """
        lists = self._lists(step)
        random = np.random.default_rng((_STREAM, *key, step))
        rows = lists.rows[self._places(query_rows)].astype(np.int64)
        order = random.random(rows.shape)
        order[rows < 0] = 2.0
        chosen = np.take_along_axis(rows, np.argsort(order, axis=1)[:, :count], axis=1)
        missing = count - chosen.shape[1]
        if missing > 0:
            chosen = np.pad(chosen, ((0, 0), (0, missing)), constant_values=-1)
        return self._fill(query_rows, chosen, random)

    def relevant(self, query_rows: NDArray[np.int64], passage_rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each passage is relevant to each query, by any split or as a copy: bool[n, m]."""
        return self.relevance.of(query_rows[:, None], passage_rows[None, :])

    def _lists(self, step: int) -> NegativeLists:
        generation = self.generation(step)
        if generation not in self._generations:
            raise RuntimeError(
                f"step {step} needs the negatives mined after step {generation * self.refresh}, "
                "and they are not there: batches are made too far ahead"
            )
        return self._generations[generation]

    def _places(self, query_rows: NDArray[np.int64]) -> NDArray[np.intp]:
        places = np.searchsorted(self.query_rows, query_rows)
        if len(self.query_rows) == 0 or (self.query_rows.take(places, mode="clip") != query_rows).any():
            raise ValueError("negatives were mined for other queries than those of the batch")
        return places

    def _fill(
        self, query_rows: NDArray[np.int64], chosen: NDArray[np.int64], random: np.random.Generator
    ) -> NDArray[np.int64]:
        """Replace −1 by random passages; one that stays relevant after all redraws is excluded later."""
        owner, column = np.nonzero(chosen < 0)
        open_ = np.arange(len(owner))
        for _ in range(_REDRAWS):
            if len(open_) == 0:
                break
            at = (owner[open_], column[open_])
            chosen[at] = random.integers(self.relevance.passages, size=len(open_))
            unfit = self.relevance.of(query_rows[at[0]], chosen[at]) | self.relevance.empty(chosen[at])
            open_ = open_[unfit]
        return chosen
