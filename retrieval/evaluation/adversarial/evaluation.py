"""Attack a model on its in-domain test set, or replay attacks on it, and measure what that changes.

docs/attack.md describes the protocol.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import TypeAlias

import numpy as np

from retrieval.config import AttackConfig, EvalConfig
from retrieval.config.attack import ATTACKS, attack_file, attack_names, prefix_of
from retrieval.data.arrays import FloatArray
from retrieval.data.testset import EvaluationSet, first_queries, take_queries
from retrieval.evaluation.adversarial.adversarial_set import choose_queries, replayed_set
from retrieval.evaluation.adversarial.attack import AnyAttack, Attack, Corpus, CorpusAttack, Spent
from retrieval.evaluation.adversarial.insertion import Insertion
from retrieval.evaluation.adversarial.lexical import inserted_by_bm25, promoted_by_bm25
from retrieval.evaluation.adversarial.promotion import Judge, Promotion, promote
from retrieval.evaluation.adversarial.records import Attacked, Inserted, Record, load_attacked
from retrieval.evaluation.one_set import SetScores
from retrieval.evaluation.suite import Measured
from retrieval.models.flops import Work
from retrieval.search.retriever import Attackable

Candidates: TypeAlias = Callable[[EvaluationSet], EvaluationSet]
"""Gives a set the passages that are ranked for each query."""

NOTHING = Spent(0, 0.0)


@dataclass
class _Found:
    """What one attack gave."""

    metrics: dict[str, float]
    scores: dict[str, SetScores]
    attacked: list[Record]
    spent: Spent = NOTHING
    controls: list[Callable[[], dict[str, float]]] = field(default_factory=list)
    """Control rows, which are no part of what the attack takes."""


@dataclass(frozen=True)
class _Place:
    """Where attacks take place: a model and the test set."""

    config: AttackConfig
    model: Attackable
    evaluation_set: EvaluationSet
    encoded: tuple[FloatArray, FloatArray]
    evaluation: EvalConfig
    candidates: Candidates
    progress: bool

    def searched(self, attack: AnyAttack) -> _Found:
        """What an attack finds."""
        if isinstance(attack, CorpusAttack):
            corpus = Corpus(self.model, self.evaluation_set, self.progress)
            inserted, spent = attack.passages(corpus)
            return replace(self._inserted(attack.name, inserted, spent.asked), spent=spent)
        assert isinstance(attack, Attack)
        positions = choose_queries(self.evaluation_set, self.config.queries, self.config.seed)
        queries = self.candidates(take_queries(self.evaluation_set, positions))
        promotion, asked = promote(attack, self.model, queries, positions, self.encoded, self.progress)
        return replace(self._promoted(promotion, attack.budget), spent=Spent(asked, float(asked)))

    def replayed(self, name: str, records: list[Record], source: str) -> _Found:
        """What the records of one attack are on this model."""
        inserted = [entry for entry in records if isinstance(entry, Inserted)]
        if inserted:
            return self._inserted(name, inserted, None)
        attacked = [entry for entry in records if isinstance(entry, Attacked)]
        adversarial = replayed_set(attacked, self.evaluation_set, source)
        adversarial = replace(adversarial, queries=self.candidates(adversarial.queries))
        judge = Judge(self.config, self.model)
        return self._promoted(Promotion(name, self.model, judge, adversarial, self.encoded), None)

    def _promoted(self, promotion: Promotion, budget: int | None) -> _Found:
        found = promotion.measured(self.evaluation, budget)
        controls = [promotion.control]
        if self.evaluation.bm25:
            controls.append(lambda: _of_bm25(promotion.name, promoted_by_bm25(promotion.adversarial)))
        return _Found(found.metrics, found.scores, [*found.attacked], controls=controls)

    def _inserted(self, name: str, inserted: list[Inserted], asked: int | None) -> _Found:
        part, (queries, passages) = self.evaluation_set, self.encoded
        if self.model.scores.by_pair:
            few = first_queries(part, self.evaluation.pair_queries, self.evaluation.seed)
            queries = queries[np.searchsorted(part.query_rows, few.query_rows)]
            part = self.candidates(few)
        insertion = Insertion(name, self.model, inserted, part, queries, passages)
        metrics, scores = insertion.measured(self.evaluation, asked)
        controls = []
        if self.evaluation.bm25:
            controls.append(lambda: _of_bm25(name, inserted_by_bm25(inserted, part)))
        return _Found(metrics, {prefix_of(name): scores}, [*inserted], controls=controls)


class AttackEvaluation:
    """Configured attacks, or some to replay; their files are read and checked."""

    def __init__(self, config: AttackConfig, attacks: list[AnyAttack], replayed: list[Record]) -> None:
        self._config, self._attacks, self._replayed = config, attacks, replayed

    @classmethod
    def load(cls, config: AttackConfig) -> AttackEvaluation | None:
        """The configured attacks, their files read before training, so that mistakes show; ``None``: none.

        Raises:
            ConfigError, DataError: A file cannot be read or is malformed.
        """
        if config.replay is not None:
            return cls(config, [], load_attacked(attack_file(config.replay)))
        attacks: list[AnyAttack] = [ATTACKS[name](config) for name in attack_names(config)]
        return cls(config, attacks, []) if attacks else None

    def check(self, evaluation_set: EvaluationSet) -> None:
        """Refuse a test set that an attack cannot be made on, before anything is encoded.

        Raises:
            ConfigError: Says what the collection lacks.
        """
        for attack in self._attacks:
            attack.check_set(evaluation_set)

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
        """Attack (or replay), then measure; one attack after the other.

        ``encoded``: float32[q, …] and float32[p, …] of the in-domain test set by the model; may be
        memory-mapped. ``evaluation``: how contrastive entropy is drawn. ``candidates``: gives the attacked
        queries their candidates, where a model does not rank the whole pool. ``progress``: show a bar when
        the search takes more than two seconds.

        Raises:
            ConfigError: There is nothing to attack, or the model cannot be attacked as configured.
            DataError: Passages to replay are not those of this set.
        """
        place = _Place(self._config, model, evaluation_set, encoded, evaluation, candidates, progress)
        total = Measured({"cost/attack_queries": 0.0, "cost/attack_seconds": 0.0}, {}, [])
        for name, find in self._searches(place):
            start = time.perf_counter()
            found = find()
            seconds = time.perf_counter() - start
            # Of pairs, all that was scored says how long one is.
            texts = model.take_work_of_texts()
            work = model.scores.work if model.scores.by_pair else texts
            for control in found.controls:
                found.metrics |= control()
            model.take_work_of_texts()  # of controls, which are no part of an attack
            asked = float(found.spent.asked)
            costs = {
                f"{prefix_of(name)}/queries": asked,
                "cost/attack_queries": total.metrics["cost/attack_queries"] + asked,
                "cost/attack_seconds": total.metrics["cost/attack_seconds"] + seconds,
            }
            total = replace(
                total,
                metrics=total.metrics | found.metrics | costs,
                scores=total.scores | found.scores,
                attacked=[*(total.attacked or ()), *found.attacked],
                attack_passes={**total.attack_passes, name: (found.spent.passes, work)},
            )
        return total

    def _searches(self, place: _Place) -> list[tuple[str, Callable[[], _Found]]]:
        """Each attack by name, and what carries it out."""
        if self._attacks:
            return [(attack.name, partial(place.searched, attack)) for attack in self._attacks]
        source = str(attack_file(str(self._config.replay)))
        ordered = sorted(self._replayed, key=lambda entry: entry.attack)
        groups = [(name, list(own)) for name, own in groupby(ordered, key=lambda entry: entry.attack)]
        return [(name, partial(place.replayed, name, own, source)) for name, own in groups]


def _of_bm25(name: str, ranks: dict[str, float]) -> dict[str, float]:
    return {f"bm25/adv/{name}/{measure}": value for measure, value in ranks.items()}


def attack_flops(passes: dict[str, tuple[float, Work]], flops: Callable[[Work], float]) -> dict[str, float]:
    """``adv/NAME/flops`` of each attack, and ``cost/attack_flops``, their sum.

    A pass takes what a text of the attack takes on average. ``passes``: of :class:`Measured`; ``flops``: of
    the attacked model.
    """
    each = {name: count * flops(work) / max(work.sequences, 1) for name, (count, work) in passes.items()}
    return {
        **{f"adv/{name}/flops": value for name, value in each.items()},
        "cost/attack_flops": sum(each.values()),
    }
