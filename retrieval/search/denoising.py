"""Denoising: mined negatives that a teacher finds nearly as relevant as the positive are dropped.

After RocketQA (arXiv 2010.08191, §3.3); the margins relative to the positive are those of NV-Retriever
(arXiv 2407.15831). As the score of the positive of a query with several counts the lowest, as in
sentence-transformers' ``mine_hard_negatives``.
"""

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from retrieval.config import DenoiseConfig
from retrieval.config.strategy import check_margin
from retrieval.data.arrays import FloatArray, new_array
from retrieval.data.cache import build_once, digest
from retrieval.data.collection import Collection
from retrieval.data.negatives import NegativeLists
from retrieval.errors import ParetrieveError
from retrieval.search.loading import TEXTS_A_BLOCK, load_teacher, model_identity
from retrieval.search.mining import TRAIN, ListWriter
from retrieval.search.retriever import Retriever, texts_at_once

_VERSION = "denoising 1"
_QUERIES_A_CHUNK = 256


def denoise(mined: Path, collection: Collection, config: DenoiseConfig, cache: Path) -> Path:
    """Folder with the lists of ``mined`` without suspected false negatives, built once into the cache.

    The teacher's scores are kept too, so that another margin costs no second judgement. The manifest's
    counts tell what was dropped: ``denoised`` of ``judged`` negatives.

    ``mined``: from :func:`retrieval.search.mining.mine`; ``config``: teacher and margin, see
    :func:`thresholds`.

    Raises:
        ConfigError: the teacher cannot be loaded, or the margin is not valid.
    """
    check_margin(config)
    key = [_VERSION, collection.fingerprint, mined.name, model_identity(config.teacher)]
    lists = NegativeLists.open(mined)
    judged = build_once(
        cache / "teacher-scores" / digest(key)[:32],
        lambda target: judge(lists, collection, config.teacher, target, cache),
        describe=f"{config.teacher} judges the hard negatives of {collection.name}",
    )
    return build_once(
        cache / "negatives" / digest([*key, config.margin, config.value])[:32],
        lambda target: write_denoised(lists, judged, config, target),
        describe=f"denoised hard negatives of {collection.name}",
    )


def judge(lists: NegativeLists, collection: Collection, source: str, target: Path, cache: Path) -> None:
    """Write the teacher's scores of the negatives and the lowest of each query's positives.

    ``negatives.npy``: float32[q, depth], −inf where padded; ``positives.npy``: float32[q].

    Raises:
        ConfigError: the teacher cannot be loaded.
        ParetrieveError: a score is NaN or infinite.
    """
    scratch = target / "scratch"
    scratch.mkdir()
    teacher = load_teacher(collection, source, cache)
    judged = collection.judgements(TRAIN)
    starts = np.searchsorted(judged.query_rows, lists.query_rows, side="left")
    stops = np.searchsorted(judged.query_rows, lists.query_rows, side="right")
    distinct = _distinct(lists, judged.passage_rows, collection.counts["passages"])
    encoded = _encoded(teacher, collection, distinct, scratch)
    shape = lists.rows.shape
    negatives = new_array(target / "negatives.npy", np.float32, shape)
    positives = np.empty(len(lists.query_rows), np.float32)
    for first in tqdm(
        range(0, len(positives), _QUERIES_A_CHUNK), desc="judging negatives", delay=2, leave=False
    ):
        span = slice(first, first + _QUERIES_A_CHUNK)
        relevant = _padded(judged.passage_rows, starts[span], stops[span])
        rows = np.concatenate([relevant, lists.rows[span].astype(np.int64)], axis=1)
        columns = np.where(rows >= 0, np.searchsorted(distinct, rows), -1)
        queries = teacher.encode(collection, "queries", lists.query_rows[span])
        scores = teacher.scores.listed(queries, encoded, columns)
        if not np.isfinite(scores[rows >= 0]).all():
            raise ParetrieveError(f"strategy.denoise.teacher={source}: its scores hold NaN or infinity")
        width = relevant.shape[1]
        positives[span] = np.where(relevant >= 0, scores[:, :width], np.inf).min(axis=1)
        negatives[span] = scores[:, width:]
    negatives.flush()
    np.save(target / "positives.npy", positives, allow_pickle=False)
    del encoded
    shutil.rmtree(scratch)


def _encoded(
    teacher: Retriever, collection: Collection, rows: NDArray[np.int64], scratch: Path
) -> FloatArray:
    """Passages at ``rows`` as the teacher encodes them, ``[n, …]``: each once, kept on disk."""
    kept: FloatArray = np.empty(0, np.float32)
    size = texts_at_once(teacher.row_bytes("passages"), TEXTS_A_BLOCK)
    for start in range(0, len(rows), size):
        block = teacher.encode(collection, "passages", rows[start : start + size])
        if start == 0:
            kept = new_array(scratch / "encoded.npy", block.dtype, (len(rows), *block.shape[1:]))
        kept[start : start + len(block)] = block
    return kept


def thresholds(positives: NDArray[np.float32], config: DenoiseConfig) -> NDArray[np.float32]:
    """Score above which a negative of each query is dropped: float32[q].

    ``positives``: float32[q], s⁺. ``absolute``: s⁺ − value. ``relative``: s⁺ − value·|s⁺|, which for
    s⁺ > 0 is (1 − value)·s⁺ and never above s⁺. ``percentile``: the value-quantile of s⁺ over all queries,
    one threshold for all, for teachers whose scores compare between queries, as a cross-encoder's do.
    """
    value = np.float32(config.value)
    if config.margin == "absolute":
        return positives - value
    if config.margin == "relative":
        return (positives - value * np.abs(positives)).astype(np.float32)
    return np.full(positives.shape, np.quantile(positives, config.value), dtype=np.float32)


def write_denoised(lists: NegativeLists, judged: Path, config: DenoiseConfig, target: Path) -> None:
    """Write ``lists`` without the negatives above the threshold, from the scores in the folder ``judged``.

    Scores of the lists stay the miner's; the order stays too.
    """
    scores = np.load(judged / "negatives.npy", mmap_mode="r", allow_pickle=False)
    limits = thresholds(np.load(judged / "positives.npy", allow_pickle=False), config)
    writer = ListWriter(target, lists.query_rows, lists.rows.shape[1])
    counts = {"judged": 0, "denoised": 0, "emptied_lists": 0}
    for first in range(0, len(limits), _QUERIES_A_CHUNK):
        span = slice(first, first + _QUERIES_A_CHUNK)
        rows = lists.rows[span]
        given = rows >= 0
        kept = given & (scores[span] <= limits[span, None])
        counts["judged"] += int(given.sum())
        counts["denoised"] += int(given.sum() - kept.sum())
        counts["emptied_lists"] += int((given.any(axis=1) & ~kept.any(axis=1)).sum())
        writer.add(rows, lists.scores[span], kept)
    earlier = ("filtered_relevant", "filtered_empty")
    writer.counts |= counts | {name: lists.counts[name] for name in earlier}
    writer.finish({"teacher": config.teacher, "margin": config.margin, "value": config.value})


def _distinct(lists: NegativeLists, positives: NDArray[np.int64], passages: int) -> NDArray[np.int64]:
    """Passages of the lists and the positives, ascending, without holding the lists in memory."""
    seen = np.zeros(passages, dtype=bool)
    seen[positives] = True
    for first in range(0, len(lists.rows), _QUERIES_A_CHUNK):
        rows = lists.rows[first : first + _QUERIES_A_CHUNK]
        seen[rows[rows >= 0]] = True
    return np.flatnonzero(seen)


def _padded(rows: NDArray[np.int64], starts: NDArray[np.intp], stops: NDArray[np.intp]) -> NDArray[np.int64]:
    """The runs ``rows[start:stop]`` as int64[n, longest], padded with −1."""
    places = starts[:, None] + np.arange(int((stops - starts).max()))
    inside = places < stops[:, None]
    return np.where(inside, rows[np.where(inside, places, 0)], -1)
