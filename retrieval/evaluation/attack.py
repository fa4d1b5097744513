"""Word-substitution ranking attack (WSRA, after PRADA): attack an encoder, or replay an attack on it.

    attack = Attack.load(config.attack)                      # reads and checks its files; None without one
    outcome = attack.run(model, evaluation_set, encoded, config.eval)
    save_attacked(outcome.attacked, folder / ATTACK_FILE)

docs/attack.md describes the protocol and how it differs from PRADA's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval.config import AttackConfig, EvalConfig
from retrieval.config.attack import ATTACK_FILE, attack_file
from retrieval.data.arrays import FloatArray
from retrieval.data.testset import EvaluationSet, IntArray
from retrieval.evaluation.attacks.adversarial_set import AdversarialSet, replayed_set
from retrieval.evaluation.attacks.measure import AttackedPool, measured, ranks_of, target_scores
from retrieval.evaluation.attacks.records import Attacked, load_attacked, save_attacked
from retrieval.evaluation.attacks.search import Judge, search
from retrieval.evaluation.attacks.synonyms import EMBEDDING, ListedSynonyms, load_synonyms
from retrieval.evaluation.attacks.words import Words
from retrieval.evaluation.suite import SetScores
from retrieval.search.loading import load_retriever
from retrieval.search.retriever import Attackable

__all__ = [
    "ATTACK_FILE",
    "Attack",
    "Attacked",
    "Outcome",
    "load_attacked",
    "save_attacked",
]

PREFIX = "adv"
CLEAN = "adv/clean"
TOP = 10


@dataclass(frozen=True)
class Outcome:
    """What an attack did."""

    metrics: dict[str, float]
    """``adv/…``, ``cost/attack_seconds`` and ``cost/attack_queries``."""
    scores: dict[str, SetScores]
    """The attacked queries one by one: ``adv`` with the attacked passages, ``adv/clean`` without."""
    attacked: list[Attacked]
    """One entry a target, by query."""


class Attack:
    """A configured attack, its files read and checked."""

    def __init__(
        self, config: AttackConfig, listed: ListedSynonyms | None, replayed: list[Attacked] | None
    ) -> None:
        self._config = config
        self._listed = listed
        self._replayed = replayed

    @classmethod
    def load(cls, config: AttackConfig) -> Attack | None:
        """Read the synonyms or the passages to replay, so that mistakes in them show before training.

        Returns:
            ``None`` without an attack.

        Raises:
            ConfigError, DataError: A file cannot be read or is malformed.
        """
        if config.replay is not None:
            return cls(config, None, load_attacked(attack_file(config.replay)))
        if config.name == "none":
            return None
        if config.synonyms == EMBEDDING:
            return cls(config, None, None)
        return cls(config, load_synonyms(Path(config.synonyms), config.candidates), None)

    def run(
        self,
        model: Attackable,
        evaluation_set: EvaluationSet,
        encoded: tuple[FloatArray, FloatArray],
        evaluation: EvalConfig,
        *,
        progress: bool = True,
    ) -> Outcome:
        """Attack (or replay), then measure.

        Args:
            model: The attacked model.
            evaluation_set: Its in-domain test set.
            encoded: float32[q, …] and float32[p, …] of the set by the model; may be memory-mapped.
            evaluation: How contrastive entropy is drawn.
            progress: Show a bar when the search takes more than two seconds.

        Raises:
            ConfigError: There is nothing to attack, or the model cannot be attacked as configured.
            DataError: Passages to replay are not those of this set.
        """
        start = time.perf_counter()
        judge, asked = _judge(self._config, model), 0
        if self._replayed is not None:
            source = str(attack_file(str(self._config.replay)))
            adversarial = replayed_set(self._replayed, evaluation_set, source)
        else:
            adversarial, asked = search(
                self._config, self._listed, model, judge, evaluation_set, encoded, progress=progress
            )
        outcome = _measure(model, judge, adversarial, encoded, evaluation)
        outcome.metrics["adv/queries"] = outcome.metrics["cost/attack_queries"] = float(asked)
        outcome.metrics["cost/attack_seconds"] = time.perf_counter() - start
        return outcome


def _judge(config: AttackConfig, model: Attackable) -> Judge:
    """Return who tells how similar texts are."""
    if config.similarity_model is None:
        return Judge(model.scores)
    named = load_retriever(config.similarity_model)
    return Judge(named.scores, lambda texts: named.encode_texts(texts, "passages"))


def _measure(
    model: Attackable,
    judge: Judge,
    adversarial: AdversarialSet,
    encoded: tuple[FloatArray, FloatArray],
    evaluation: EvalConfig,
) -> Outcome:
    """Measure an adversarial set: its texts alone decide, so that a replay repeats the attack's numbers."""
    queries, passages = encoded[0][adversarial.positions], encoded[1]
    pool = AttackedPool(adversarial.queries, queries, passages, model.scores, adversarial.targets)
    old = passages[adversarial.columns()]
    changed = [index for index, words in enumerate(adversarial.words) if words]
    new = np.array(old, dtype=np.float32)
    if changed:
        new[changed] = model.encode_texts([adversarial.new_texts[index] for index in changed], "passages")
    reached = target_scores(pool, old), target_scores(pool, new)
    before, after = ranks_of(pool, reached)
    similarity = judge.scores.cosines(
        judge.rows(adversarial.old_texts, old), judge.rows(adversarial.new_texts, new)
    )
    clean, attacked = measured(pool, reached, evaluation)
    metrics = _attack_metrics(adversarial, before, after, similarity)
    for prefix, result in ((CLEAN, clean), (PREFIX, attacked)):
        metrics |= {f"{prefix}/{name}": float(values.mean()) for name, values in result.queries.items()}
        # By definition a mean over pairs, not over queries.
        metrics[f"{prefix}/contrastive_entropy"] = float(result.pairs.mean())
    return Outcome(
        metrics=metrics,
        scores={PREFIX: attacked, CLEAN: clean},
        attacked=_records(adversarial, before, after, similarity),
    )


def _attack_metrics(
    adversarial: AdversarialSet, before: IntArray, after: IntArray, similarity: FloatArray
) -> dict[str, float]:
    changed = np.array([len(words) for words in adversarial.words])
    lengths = np.array([len(Words(text)) for text in adversarial.old_texts])
    return {
        "adv/success_rate": float((after < before).mean()),
        "adv/rank_boost": float((before - after).mean()),
        "adv/top10_rate": float((after <= TOP).mean()),
        "adv/rank_before": float(before.mean()),
        "adv/rank_after": float(after.mean()),
        "adv/words_changed": float(changed.mean()),
        "adv/words_share": float((changed / np.maximum(lengths, 1)).mean()),
        "adv/similarity": float(similarity.mean()),
        "adv/attacked_queries": float(len(adversarial.positions)),
        "adv/targets": float(len(adversarial.targets)),
    }


def _records(
    adversarial: AdversarialSet, before: IntArray, after: IntArray, similarity: FloatArray
) -> list[Attacked]:
    query_ids = adversarial.queries.query_ids()
    passage_ids = adversarial.queries.passage_ids(adversarial.columns())
    return [
        Attacked(
            query_id=query_ids[target.query],
            passage_id=passage_ids[index],
            rank_before=int(before[index]),
            rank_after=int(after[index]),
            similarity=float(similarity[index]),
            words=adversarial.words[index],
            old_text=adversarial.old_texts[index],
            new_text=adversarial.new_texts[index],
        )
        for index, target in enumerate(adversarial.targets)
    ]
