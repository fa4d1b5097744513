"""Passages of the corpus that an attack promotes: whom it finds, what it changes, and what that gives.

docs/attack.md describes the protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from retrieval.config import AttackConfig, EvalConfig
from retrieval.config.attack import prefix_of
from retrieval.data.arrays import FloatArray, wider
from retrieval.data.testset import EvaluationSet, IntArray
from retrieval.errors import ConfigError
from retrieval.evaluation.adversarial.adversarial_set import (
    AdversarialSet,
    choose_targets,
    columns_of,
    target_texts,
)
from retrieval.evaluation.adversarial.attack import Attack, Scene, Similarity
from retrieval.evaluation.adversarial.curve import TOP, curves
from retrieval.evaluation.adversarial.measure import AttackedPool, measured, ranks_of, target_scores
from retrieval.evaluation.adversarial.records import Attacked, Edit, edited
from retrieval.evaluation.one_set import SetScores
from retrieval.evaluation.substitution.words import Words
from retrieval.search.loading import load_retriever
from retrieval.search.ranking import top_k, without_identical
from retrieval.search.reranking import rerank
from retrieval.search.retriever import Attackable


class Judge:
    """Who says how alike two passages are: the attacked model, or a named one."""

    def __init__(self, config: AttackConfig, model: Attackable) -> None:
        """Raises ConfigError: A limit is set, and the model scores pairs."""
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


@dataclass(frozen=True)
class Promoted:
    """What an attack on passages of the corpus gave."""

    metrics: dict[str, float]
    scores: dict[str, SetScores]
    attacked: list[Attacked]
    asked: int = 0


@dataclass(frozen=True)
class Promotion:
    """An adversarial set with the model that it is measured on."""

    name: str
    """Of the attack."""
    model: Attackable
    judge: Judge
    adversarial: AdversarialSet
    encoded: tuple[FloatArray, FloatArray]
    """The whole test set by the model."""
    controls: list[tuple[Edit, ...]] = field(default_factory=list)
    """Random edits of each target, where the attack made some."""

    @property
    def pool(self) -> AttackedPool:
        """The attacked queries and what they rank."""
        adversarial, (queries, passages) = self.adversarial, self.encoded
        return AttackedPool(
            adversarial.queries,
            queries[adversarial.positions],
            passages,
            self.model.scores,
            adversarial.targets,
        )

    def measured(self, evaluation: EvalConfig, budget: int | None) -> Promoted:
        """The measures of the texts, which alone decide, so that a replay repeats the attack's numbers.

        ``budget``: of the attack, where it recorded the way of its targets.
        """
        adversarial, pool, prefix = self.adversarial, self.pool, prefix_of(self.name)
        old, new = self._rows([bool(edits) for edits in adversarial.edits], adversarial.new_texts)
        reached = target_scores(pool, old), target_scores(pool, new)
        before, after = ranks_of(pool, reached)
        similarity = self.judge.cosines(adversarial, old, new)
        clean, attacked = measured(pool, reached, evaluation)
        metrics = _attack_metrics(adversarial, before, after, similarity)
        for part, result in (("clean/", clean), ("", attacked)):
            metrics |= {f"{part}{name}": float(values.mean()) for name, values in result.queries.items()}
            # By definition a mean over pairs, not over queries.
            metrics[f"{part}contrastive_entropy"] = float(result.pairs.mean())
        found = {f"{prefix}/{name}": value for name, value in metrics.items()}
        if adversarial.traces and budget:
            owners = [target.query for target in adversarial.targets]
            found |= curves(adversarial.traces, before, after, budget, prefix, owners)
            areas = [key for key in found if key.startswith(f"{prefix}/auc")]
            found |= {f"adv/{self.name}{key.removeprefix(prefix)}": found[key] for key in areas}
        records = self._records(before, after, similarity)
        return Promoted(found, {prefix: attacked, f"{prefix}/clean": clean}, records)

    def control(self) -> dict[str, float]:
        """Ranks with as many random edits, as ``adv/NAME/random/…``; nothing where there are none."""
        if not self.controls:
            return {}
        texts = [edited(text, own) for text, own in zip(self.adversarial.old_texts, self.controls)]
        if None in texts:
            raise ValueError(f"attack {self.name}: a random edit is of text that does not stand at its place")
        old, new = self._rows([bool(edits) for edits in self.controls], cast(list[str], texts))
        before, after = ranks_of(self.pool, [target_scores(self.pool, rows) for rows in (old, new)])
        where = f"adv/{self.name}/random"
        return {f"{where}/{name}": value for name, value in rank_metrics(before, after).items()}

    def _rows(self, changed: Sequence[bool], texts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Rows float32[t, …] of the targets, and of ``texts`` in place of theirs where those changed."""
        old = self.encoded[1][columns_of(self.adversarial.targets)]
        new = np.array(old, dtype=np.float32)
        places = [index for index, own in enumerate(changed) if own]
        if places:
            rows = self.model.encode_texts([texts[index] for index in places], "passages")
            new = wider(new, rows.shape[1])
            new[places] = wider(rows, new.shape[1])
        return old, new

    def _records(self, before: IntArray, after: IntArray, similarity: FloatArray | None) -> list[Attacked]:
        adversarial = self.adversarial
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
                attack=self.name,
            )
            for index, target in enumerate(adversarial.targets)
        ]


def promote(
    attack: Attack,
    model: Attackable,
    queries: EvaluationSet,
    positions: IntArray,
    encoded: tuple[FloatArray, FloatArray],
    progress: bool,
) -> tuple[Promotion, int]:
    """Let an attack promote passages, and say how many texts it asked the model for.

    ``queries``: the attacked ones, with their candidates where a model does not rank the whole pool, at
    int64 ``positions`` of the test set; ``encoded``: the test set by the model.

    Raises:
        ConfigError: There is nothing to attack, or the model cannot be attacked as configured.
    """
    config: AttackConfig = attack.config
    judge = Judge(config, model)
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
    after = cast(list[str], new_texts)
    adversarial = AdversarialSet(positions, queries, targets, texts, after, edits, scene.traces)
    return Promotion(attack.name, model, judge, adversarial, encoded, scene.controls), asked


def rank_metrics(before: IntArray, after: IntArray) -> dict[str, float]:
    """What ranks int64[t] before and after say of an attack."""
    return {
        "success_rate": float((after < before).mean()),
        "rank_boost": float((before - after).mean()),
        "top10_rate": float((after <= TOP).mean()),
        "rank_before": float(before.mean()),
        "rank_after": float(after.mean()),
    }


def _attack_metrics(
    adversarial: AdversarialSet, before: IntArray, after: IntArray, similarity: FloatArray | None
) -> dict[str, float]:
    changed = np.array([sum(map(_words, edits)) for edits in adversarial.edits])
    lengths = np.array([len(Words(text)) for text in adversarial.old_texts])
    return {
        **rank_metrics(before, after),
        "words_changed": float(changed.mean()),
        "words_share": float((changed / np.maximum(lengths, 1)).mean()),
        **({} if similarity is None else {"similarity": float(similarity.mean())}),
        "attacked_queries": float(len(adversarial.positions)),
        "targets": float(len(adversarial.targets)),
    }


def _words(edit: Edit) -> int:
    """How many words an edit changes: the one that it replaces, or those that it puts in."""
    return 1 if edit.old else len(edit.new.split())
