"""Attack a model on its in-domain test set, or replay an attack on it, and measure what that changes.

docs/attack.md describes the protocol.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias, cast

import numpy as np

from retrieval.config import AttackConfig, EvalConfig
from retrieval.config.attack import ATTACKS, attack_file
from retrieval.data.arrays import FloatArray, wider
from retrieval.data.testset import EvaluationSet, IntArray, take_queries
from retrieval.errors import ConfigError
from retrieval.evaluation.adversarial.adversarial_set import (
    AdversarialSet,
    choose_queries,
    choose_targets,
    columns_of,
    replayed_set,
    target_texts,
)
from retrieval.evaluation.adversarial.attack import Attack, Scene, Similarity
from retrieval.evaluation.adversarial.curve import TOP, curves
from retrieval.evaluation.adversarial.measure import AttackedPool, measured, ranks_of, target_scores
from retrieval.evaluation.adversarial.records import Attacked, Edit, edited, load_attacked
from retrieval.evaluation.substitution.words import Words
from retrieval.evaluation.suite import Measured
from retrieval.search.loading import load_retriever
from retrieval.search.ranking import top_k, without_identical
from retrieval.search.reranking import rerank
from retrieval.search.retriever import Attackable

Candidates: TypeAlias = Callable[[EvaluationSet], EvaluationSet]
"""Gives a set the passages that are ranked for each query."""

PREFIX = "adv"
CLEAN = "adv/clean"


class AttackEvaluation:
    """A configured attack, or one to replay; its files are read and checked."""

    def __init__(self, config: AttackConfig, attack: Attack | None, replayed: list[Attacked]) -> None:
        self._config, self._attack, self._replayed = config, attack, replayed

    @classmethod
    def load(cls, config: AttackConfig) -> AttackEvaluation | None:
        """The configured attack, its files read before training, so that mistakes show; ``None`` without one.

        Raises:
            ConfigError, DataError: A file cannot be read or is malformed.
        """
        if config.replay is not None:
            return cls(config, None, load_attacked(attack_file(config.replay)))
        return None if config.name == "none" else cls(config, ATTACKS[config.name](config), [])

    def run(
        self,
        model: Attackable,
        evaluation_set: EvaluationSet,
        encoded: tuple[FloatArray, FloatArray],
        evaluation: EvalConfig,
        candidates: Candidates = lambda queries: queries,
        *,
        progress: bool = True,
    ) -> Measured:
        """Attack (or replay), then measure.

        ``encoded``: float32[q, …] and float32[p, …] of the in-domain test set by the model; may be
        memory-mapped. ``evaluation``: how contrastive entropy is drawn. ``candidates``: gives the attacked
        queries their candidates, where a model does not rank the whole pool. ``progress``: show a bar when
        the search takes more than two seconds.

        Raises:
            ConfigError: There is nothing to attack, or the model cannot be attacked as configured.
            DataError: Passages to replay are not those of this set.
        """
        start = time.perf_counter()
        judge, asked = _Judge(self._config, model), 0
        if self._attack is None:
            source = str(attack_file(str(self._config.replay)))
            adversarial = replayed_set(self._replayed, evaluation_set, source)
            adversarial = replace(adversarial, queries=candidates(adversarial.queries))
        else:
            positions = choose_queries(evaluation_set, self._config.queries, self._config.seed)
            queries = candidates(take_queries(evaluation_set, positions))
            adversarial, asked = _attacked(
                self._attack, self._config, model, judge, queries, positions, encoded, progress
            )
        outcome = _measure(model, judge, adversarial, encoded, evaluation)
        if adversarial.traces and outcome.attacked and self._attack and self._attack.budget:
            ranks = [[entry.rank_before, entry.rank_after] for entry in outcome.attacked]
            before, after = np.array(ranks).T
            outcome.metrics.update(curves(adversarial.traces, before, after, self._attack.budget))
        outcome.metrics["adv/queries"] = outcome.metrics["cost/attack_queries"] = float(asked)
        outcome.metrics["cost/attack_seconds"] = time.perf_counter() - start
        return outcome


class _Judge:
    def __init__(self, config: AttackConfig, model: Attackable) -> None:
        self._named = load_retriever(config.similarity_model) if config.similarity_model is not None else None
        self.scores = (self._named or model).scores
        self.judges = not self.scores.by_pair
        """Whether there is a cosine of two passages; a score of two passages by a cross-encoder is none."""
        if not self.judges and config.similarity > 0:
            raise ConfigError(
                f"attack.similarity={config.similarity}: a model that scores pairs cannot say how alike two "
                "passages are; set attack.similarity_model, or leave attack.similarity out"
            )

    def cosines(self, adversarial: AdversarialSet, old: FloatArray, new: FloatArray) -> FloatArray | None:
        """Cosines float32[t] of the texts before and after, with rows ``old`` and ``new`` by the model."""
        if not self.judges:
            return None
        return self.scores.cosines(
            self.rows(adversarial.old_texts, old), self.rows(adversarial.new_texts, new)
        )

    def rows(self, texts: Sequence[str], own: FloatArray) -> FloatArray:
        """Rows float32[n, …] of texts, of which the attacked model has its ``own``."""
        return own if self._named is None else self._named.encode_texts(texts, "passages")

    def cosines_with(self, originals: Sequence[str], own: FloatArray) -> Similarity:
        """How close texts are to some of the ``originals``, whose rows by the model are ``own``."""
        old = self.rows(originals, own)

        def similarity(numbers: Sequence[int], texts: Sequence[str], rows: FloatArray) -> FloatArray:
            return self.scores.cosines(old[list(numbers)], self.rows(texts, rows))

        return similarity


def _attacked(
    attack: Attack,
    config: AttackConfig,
    model: Attackable,
    judge: _Judge,
    queries: EvaluationSet,
    positions: IntArray,
    encoded: tuple[FloatArray, FloatArray],
    progress: bool,
) -> tuple[AdversarialSet, int]:
    rows, passages = encoded[0][positions], encoded[1]
    if queries.candidates is not None:
        ranking = rerank(rows, passages, np.arange(len(passages)), queries.candidates, model.scores)
    else:
        # One deeper than the last rank: a target is compared with the others, one deeper for the query's own.
        found = top_k(rows, passages, config.last_rank + 2, scores=model.scores)
        ranking = without_identical(found, queries, config.last_rank + 1)
    targets = choose_targets(ranking, queries, config)
    if not targets:
        count = len(passages) if queries.candidates is None else queries.candidates.shape[1]
        raise ConfigError(
            f"{queries.name}: nothing irrelevant at ranks {config.first_rank} to {config.last_rank} "
            f"of {count} candidates; lower attack.first_rank and attack.last_rank"
        )
    texts = target_texts(queries, targets)
    limited = config.similarity > -1 and judge.judges
    limit = judge.cosines_with(texts, passages[columns_of(targets)]) if limited else None
    scene = Scene(model, queries, rows, ranking, targets, texts, limit, progress)
    edits, asked = attack.edits(scene)
    new_texts = [edited(text, own) for text, own in zip(texts, edits, strict=True)]
    if None in new_texts:
        raise ValueError(f"attack {attack.name} edits a stretch of text that does not stand at its place")
    texts_after = cast(list[str], new_texts)
    return AdversarialSet(positions, queries, targets, texts, texts_after, edits, scene.traces), asked


def _measure(
    model: Attackable,
    judge: _Judge,
    adversarial: AdversarialSet,
    encoded: tuple[FloatArray, FloatArray],
    evaluation: EvalConfig,
) -> Measured:
    """Measure an adversarial set: its texts alone decide, so that a replay repeats the attack's numbers."""
    queries, passages = encoded[0][adversarial.positions], encoded[1]
    pool = AttackedPool(adversarial.queries, queries, passages, model.scores, adversarial.targets)
    old = passages[columns_of(adversarial.targets)]
    changed = [index for index, edits in enumerate(adversarial.edits) if edits]
    new = np.array(old, dtype=np.float32)
    if changed:
        rows = model.encode_texts([adversarial.new_texts[index] for index in changed], "passages")
        new = wider(new, rows.shape[1])
        new[changed] = wider(rows, new.shape[1])
    reached = target_scores(pool, old), target_scores(pool, new)
    before, after = ranks_of(pool, reached)
    similarity = judge.cosines(adversarial, old, new)
    clean, attacked = measured(pool, reached, evaluation)
    metrics = _attack_metrics(adversarial, before, after, similarity)
    for prefix, result in ((CLEAN, clean), (PREFIX, attacked)):
        metrics |= {f"{prefix}/{name}": float(values.mean()) for name, values in result.queries.items()}
        # By definition a mean over pairs, not over queries.
        metrics[f"{prefix}/contrastive_entropy"] = float(result.pairs.mean())
    return Measured(
        metrics=metrics,
        scores={PREFIX: attacked, CLEAN: clean},
        attacked=_records(adversarial, before, after, similarity),
    )


def _attack_metrics(
    adversarial: AdversarialSet, before: IntArray, after: IntArray, similarity: FloatArray | None
) -> dict[str, float]:
    changed = np.array([sum(map(_words, edits)) for edits in adversarial.edits])
    lengths = np.array([len(Words(text)) for text in adversarial.old_texts])
    return {
        "adv/success_rate": float((after < before).mean()),
        "adv/rank_boost": float((before - after).mean()),
        "adv/top10_rate": float((after <= TOP).mean()),
        "adv/rank_before": float(before.mean()),
        "adv/rank_after": float(after.mean()),
        "adv/words_changed": float(changed.mean()),
        "adv/words_share": float((changed / np.maximum(lengths, 1)).mean()),
        **({} if similarity is None else {"adv/similarity": float(similarity.mean())}),
        "adv/attacked_queries": float(len(adversarial.positions)),
        "adv/targets": float(len(adversarial.targets)),
    }


def _records(
    adversarial: AdversarialSet, before: IntArray, after: IntArray, similarity: FloatArray | None
) -> list[Attacked]:
    query_ids = adversarial.queries.query_ids()
    passage_ids = adversarial.queries.passage_ids(columns_of(adversarial.targets))
    return [
        Attacked(
            query_id=query_ids[target.query],
            passage_id=passage_ids[index],
            rank_before=int(before[index]),
            rank_after=int(after[index]),
            similarity=None if similarity is None else float(similarity[index]),
            words=adversarial.edits[index],
            old_text=adversarial.old_texts[index],
            new_text=adversarial.new_texts[index],
            trace=adversarial.traces[index] if adversarial.traces else None,
        )
        for index, target in enumerate(adversarial.targets)
    ]


def _words(edit: Edit) -> int:
    """How many words an edit changes: the one that it replaces, or those that it puts in."""
    return 1 if edit.old else len(edit.new.split())
