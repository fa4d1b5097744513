"""Passages that an attack put into the corpus: how high the best of them stands for each test query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.config import EvalConfig
from retrieval.config.attack import prefix_of
from retrieval.data.arrays import FloatArray
from retrieval.data.testset import EvaluationSet, IntArray
from retrieval.evaluation.adversarial.adversarial_set import Target
from retrieval.evaluation.adversarial.curve import TOP, areas_of
from retrieval.evaluation.adversarial.measure import AttackedPool, measured
from retrieval.evaluation.adversarial.records import Inserted
from retrieval.evaluation.one_set import SetScores
from retrieval.search.ranking import check_finite
from retrieval.search.retriever import Attackable

TOPS = (1, TOP, 100)
"""Ranks from which on a passage counts as being at the top."""

_BLOCK = 65_536


@dataclass(frozen=True)
class Insertion:
    """The inserted passages with the model and the test set that they are measured on."""

    name: str
    """Of the attack."""
    model: Attackable
    inserted: Sequence[Inserted]
    """In the order in which a smaller budget would take them."""
    evaluation_set: EvaluationSet
    """The test queries, with their candidates where a model does not rank the whole pool."""
    queries: FloatArray
    """float32[q, …]."""
    passages: FloatArray
    """float32[p, …], the pool without inserted passages; may be memory-mapped."""

    def measured(self, evaluation: EvalConfig, asked: int | None) -> tuple[dict[str, float], SetScores]:
        """Metrics by their keys, and the test queries with all passages in the pool.

        ``asked``: texts that the model was asked for, where the passages were made for it just now.
        """
        scores = [
            self._scores([getattr(entry, text) for entry in self.inserted])
            for text in ("start_text", "new_text")
        ]
        before, after = (self._best_ranks(each) for each in scores)
        prefix = prefix_of(self.name)
        metrics = _rates(before[:, -1], after[:, -1]) | {
            "rank_before": float(before[:, -1].mean()),
            "rank_after": float(after[:, -1].mean()),
            "passages": float(len(self.inserted)),
            "seen_queries": float(sum(entry.seen_queries for entry in self.inserted)),
            "attacked_queries": float(len(self.queries)),
        }
        metrics |= {f"random/top{top}_rate": _share(before[:, -1], top) for top in TOPS}
        metrics |= self._curves(before, after, asked)
        pool = self._pool()
        random, found = measured(pool, [each.ravel() for each in scores], evaluation)
        for part, result in (("random/", random), ("", found)):
            metrics |= {f"{part}{name}": float(values.mean()) for name, values in result.queries.items()}
            metrics[f"{part}contrastive_entropy"] = float(result.pairs.mean())
        by_query: NDArray[np.float64] = after[:, -1].astype(np.float64)
        named = {f"{prefix}/{name}": value for name, value in metrics.items()}
        return named, SetScores(
            found.evaluation_set, {**found.queries, "inserted_rank": by_query}, found.pairs
        )

    def _curves(self, before: IntArray, after: IntArray, asked: int | None) -> dict[str, float]:
        """The measures had the attack inserted its first m passages, m from 0 to all.

        Without a passage it has asked for what all of them need together.
        """
        nothing = dict.fromkeys(("success_rate", "rank_boost", *(f"top{top}_rate" for top in TOPS)), 0.0)
        points = [nothing, *(_rates(before[:, m], after[:, m]) for m in range(len(self.inserted)))]
        found = {f"curve/{name}@{m}": value for m, each in enumerate(points) for name, value in each.items()}
        if asked is not None:
            own = [entry.asked for entry in self.inserted]
            counts = np.cumsum([asked - sum(own), *own])
            found |= {f"curve/queries@{m}": float(count) for m, count in enumerate(counts)}
        reached = np.vstack([np.zeros(len(after), dtype=bool), after.T <= TOP])
        areas = areas_of(reached, range(len(after)))
        return found | {f"auc{end}": value for end, value in areas.items()}

    def _scores(self, texts: list[str]) -> FloatArray:
        """Scores of every test query with every text: float32[q, m]."""
        rows = self.model.encode_texts(texts, "passages")
        scores = self.model.scores.matrix(self.queries, rows)
        check_finite(scores)
        return scores

    def _best_ranks(self, scores: FloatArray) -> IntArray:
        """Of the best of the first 1, 2, … passages, whose scores are float32[q, m]: int64[q, m].

        One more than the number of candidates with at least the same score: ties count against the attacker,
        and inserted passages do not compete with each other.
        """
        best = np.maximum.accumulate(scores, axis=1)
        pool = self._pool()
        if pool.ranked is not None:
            return 1 + _reaching(pool.ranked.scores, best)
        above = np.zeros(best.shape, dtype=np.int64)
        identical = self.evaluation_set.identical
        for start in range(0, len(self.passages), _BLOCK):
            block = np.asarray(self.passages[start : start + _BLOCK], dtype=np.float32)
            others = self.model.scores.matrix(self.queries, block)
            own = np.flatnonzero((identical >= start) & (identical < start + len(block)))
            others[own, identical[own] - start] = -np.inf
            above += _reaching(others, best)
        return 1 + above

    def _pool(self) -> AttackedPool:
        """Every query with all inserted passages, at the positions behind the pool."""
        first = len(self.passages)
        targets = [
            Target(query, first + number)
            for query in range(len(self.queries))
            for number in range(len(self.inserted))
        ]
        return AttackedPool(self.evaluation_set, self.queries, self.passages, self.model.scores, targets)


def _reaching(others: FloatArray, best: FloatArray) -> IntArray:
    """How many of float32[q, n] are at least as high as each of float32[q, m]: int64[q, m]."""
    return np.stack([(others >= best[:, m, None]).sum(axis=1) for m in range(best.shape[1])], axis=1)


def _rates(before: IntArray, after: IntArray) -> dict[str, float]:
    """What the ranks int64[q] of the best passage say, with start texts and with final ones."""
    return {
        **{f"top{top}_rate": _share(after, top) for top in TOPS},
        "success_rate": float((after < before).mean()),
        "rank_boost": float((before - after).mean()),
    }


def _share(ranks: IntArray, top: int) -> float:
    return float((ranks <= top).mean())
