"""``poison``: passages made by HotFlip for many queries are put into the corpus.

After Zhong et al. (2023, arXiv 2310.19156). The attacker sees training or dev queries; measured is how many
test queries, which it has never seen, have one of its passages at the top.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from retrieval.config import AttackConfig, Config
from retrieval.config.knobs import knob
from retrieval.config.model import FAMILIES, ModelConfig
from retrieval.errors import ConfigError
from retrieval.evaluation.adversarial.attack import Corpus, CorpusAttack, Spent

if TYPE_CHECKING:
    from retrieval.data.arrays import FloatArray
    from retrieval.data.testset import EvaluationSet
    from retrieval.evaluation.adversarial.records import Inserted
    from retrieval.search.retriever import Attackable

_SAMPLE = 128
"""Passages whose scores stand for a query where its row is no vector."""


@dataclass
class PoisonOptions:
    """Keys of ``attack.poison``."""

    passages: int = knob(
        10, "m: passages put into the corpus, one for each cluster of the seen queries.", minimum=1
    )
    tokens: int = knob(30, "Words of a passage, each of them one token.", minimum=1)
    iterations: int = knob(150, "Times that a word of a passage is looked at.", minimum=1)
    candidates: int = knob(16, "Words tried in the place of one.", minimum=1)
    queries: int = knob(500, "Queries that the attacker sees, of no test query's text.", minimum=1)
    split: str = knob(
        "auto", "Their split; auto: train, else dev. Never the test.", choices=("auto", "train", "dev")
    )
    batch: int = knob(
        16,
        "Queries that a step looks at, where scores are no inner products of single vectors; others look at "
        "all of a cluster.",
        minimum=1,
    )


@dataclass
class PoisonConfig(AttackConfig):
    """Passages put into the corpus."""

    surrogate: str | None = knob(
        None,
        "Run folder, or sentence-transformers folder or hub id, that the passages are made for in place of "
        "the attacked model, which is then asked for nothing.",
        content=True,
    )
    poison: PoisonOptions = field(default_factory=PoisonOptions)


class Poison(CorpusAttack):
    """Puts a passage into the corpus for each cluster of the queries that it has seen."""

    name = "poison"
    options = PoisonConfig

    @classmethod
    def check(cls, cell: Config) -> None:
        """Refuse a family that scores pairs, and more passages than there are negatives."""
        attack: PoisonConfig = cell.attack  # type: ignore[assignment]
        family = cell.model.family
        if family != ModelConfig.family and FAMILIES[family].by_pair and attack.surrogate is None:
            raise ConfigError(
                f"attack=poison: model.family={family} scores pairs and has no vectors of queries that a "
                "passage could be made for; choose another family, or set attack.surrogate or attack.replay"
            )
        if attack.poison.passages > cell.eval.negatives:
            raise ConfigError(
                f"attack.poison.passages={attack.poison.passages} is more than "
                f"eval.negatives={cell.eval.negatives}: inserted passages count among the negatives"
            )

    @classmethod
    def passes(cls, config: Any) -> list[tuple[float, int | None]]:
        """See :class:`CorpusAttack`; of a model whose scores are inner products of single vectors."""
        if config.surrogate is not None:
            return []
        own = config.poison
        # A gradient is two passes; the passage itself is encoded beside its candidates.
        return [(own.passages * own.iterations * (3 + own.candidates), own.tokens + 2)]

    def check_set(self, evaluation_set: EvaluationSet) -> None:
        """Refuse a collection without queries that the attacker may see."""
        from retrieval.evaluation.poisoning.queries import seen_queries

        own = self.config.poison
        seen_queries(evaluation_set, own.split, own.queries, int(self.config.seed))

    def passages(self, corpus: Corpus) -> tuple[list[Inserted], Spent]:
        """The passage of the largest cluster first; see :class:`CorpusAttack`."""
        from retrieval.evaluation.adversarial.records import Inserted
        from retrieval.evaluation.poisoning.clusters import clusters
        from retrieval.evaluation.poisoning.hotflip import HotFlip
        from retrieval.evaluation.poisoning.queries import seen_queries
        from retrieval.search.loading import load_retriever

        own, seed = self.config.poison, int(self.config.seed)
        guide = load_retriever(self.config.surrogate) if self.config.surrogate else corpus.model
        search = HotFlip(guide, own.candidates, own.batch)
        collection = corpus.evaluation_set.collection
        seen = seen_queries(corpus.evaluation_set, own.split, own.queries, seed)
        rows = guide.encode_texts(collection.query_texts(seen), "queries")
        features, sampled = _features(guide, corpus, rows, seed)
        groups = clusters(features, own.passages, seed)
        made = search.start([rows[group] for group in groups], own.tokens, seed)
        starts = [passage.text for passage in made]
        search.run(made, own.iterations, progress=corpus.progress)
        # Of the attacked model, where a surrogate is asked, nothing.
        asked = int(self.config.surrogate is None)
        inserted = [
            Inserted(
                attack=self.name,
                passage_id=f"{self.name}-{number}",
                start_text=start,
                new_text=passage.text,
                seen_queries=len(group),
                asked=asked * passage.asked,
            )
            for number, (passage, start, group) in enumerate(zip(made, starts, groups, strict=True), start=1)
        ]
        texts = sum(passage.asked for passage in made) + len(seen) + sampled
        # A gradient is a pass forward and one backward to the inputs.
        passes = texts + sum(passage.gradients for passage in made)
        return inserted, Spent(asked * texts, float(asked * passes))


def _features(guide: Attackable, corpus: Corpus, rows: FloatArray, seed: int) -> tuple[FloatArray, int]:
    """What queries are clustered by, float32[n, d], and how many passages were encoded for it.

    Their vectors, where scores are inner products of these; else their scores with some passages of the pool.
    """
    import numpy as np

    from retrieval.evaluation.draws import Draws
    from retrieval.models.scores import InnerProducts

    if isinstance(guide.scores, InnerProducts):
        return rows, 0
    pool = corpus.evaluation_set
    draws = Draws("features", pool.fingerprint, seed)
    chosen = np.array(draws.some(len(pool.passage_rows), _SAMPLE))
    texts = pool.collection.passage_texts(pool.passage_rows[chosen])
    return guide.scores.matrix(rows, guide.encode_texts(texts, "passages")), len(texts)
