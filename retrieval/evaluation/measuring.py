"""One measurement from collections to metrics: at the end of a run, and by ``retrieval.evaluate``.

Beside it stands the untrained encoder: a run's initial weights, measured as the run is, to tell what training
adds. It depends on the model, its tokenizer and, from scratch, the seed, not on strategy, data fraction or
optimisation, so it is measured once into the cache for all runs of a sweep that start from the same weights.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from numpy import float64
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from retrieval.config import Config
from retrieval.config.model import seed_of_weights
from retrieval.data.cache import digest
from retrieval.data.collection import Collection
from retrieval.data.testset import EvaluationSet
from retrieval.data.tokens import TokenStores
from retrieval.evaluation.adversarial.evaluation import AttackEvaluation
from retrieval.evaluation.encoded import encoded_set
from retrieval.evaluation.one_set import measure
from retrieval.evaluation.probing import with_probes
from retrieval.evaluation.progress import Steps
from retrieval.evaluation.suite import Measured, Reference, build_sets, evaluate_suite
from retrieval.evaluation.varied import with_variations
from retrieval.models.families import build_scorer
from retrieval.run.identity import canonical, content_hash, model_part
from retrieval.run.metric_names import BIAS, VARIED
from retrieval.search.ranking import kept_metrics
from retrieval.search.reranking import with_candidates
from retrieval.search.retriever import Attackable, ScorerRetriever

# Part of every cache key: raised whenever initial weights or metrics change.
VERSION = "untrained 1"


@dataclass(frozen=True)
class Collections:
    """What a suite is measured on, by role; domains by name."""

    in_domain: Collection
    robust_dev: Mapping[str, Collection]
    ood: Mapping[str, Collection]


def measure_all(
    retriever: Attackable,
    collections: Collections,
    config: Config,
    attack: AttackEvaluation | None,
    untrained: Reference | None,
    steps: Steps | None = None,
) -> Measured:
    """Measure a retriever on a suite of collections, vary and probe it in-domain, then attack it there.

    Of ``config``, ``eval``, ``cache`` and ``trainer.progress`` are read. ``untrained``: the model before
    training; ``None`` leaves its row out. ``steps``: is told how far the measurement is.

    Raises:
        ConfigError: The collections are too small for the configuration, or the model cannot be attacked so.
        DataError: A collection has no split to evaluate on, or passages to replay are not those of the set.
        ParetrieveError: The retriever returned rows or scores that cannot be measured.
    """
    start = time.perf_counter()
    sets = build_sets(collections.in_domain, collections.ood, config.eval, collections.robust_dev)
    if attack is not None:
        attack.check(sets.eff)
    cache, steps = Path(config.cache), steps or Steps()
    parts = {VARIED: config.eval.variations, BIAS: config.eval.probes}
    attacks = ["adv"] if attack is not None else []
    steps.expect([*(prefix for prefix, _ in sets.items()), *filter(parts.get, parts), *attacks])
    again = bool(config.eval.variations or config.eval.probes or attack is not None)
    suite = evaluate_suite(retriever, sets, config.eval, cache, untrained, keep=again, steps=steps)
    if parts[VARIED]:
        steps.begin(VARIED)
        suite = with_variations(retriever, suite, config.eval, cache)
    if parts[BIAS]:
        steps.begin(BIAS)
        suite = with_probes(retriever, suite, config.eval)
    seconds = time.perf_counter() - start
    suite = replace(suite, seconds=seconds, work=retriever.scores.work + retriever.take_work_of_texts())
    if attack is None:
        return suite
    steps.begin("adv")
    encoded = suite.scores["eff"].encoded or encoded_set(retriever, sets.eff, config.eval.shard, cache)

    def candidates(part: EvaluationSet) -> EvaluationSet:
        return with_candidates(part, config.eval, cache) if retriever.scores.by_pair else part

    outcome = attack.run(
        retriever, sets.eff, encoded, config.eval, candidates, progress=config.trainer.progress
    )
    metrics, scores = suite.metrics | outcome.metrics, suite.scores | outcome.scores
    return replace(
        suite,
        metrics=metrics,
        scores=scores,
        attacked=outcome.attacked,
        attack_passes=outcome.attack_passes,
    )


class UntrainedReference:
    """The initial weights of a run as a reference of :func:`retrieval.evaluation.suite.evaluate_suite`."""

    def __init__(self, cell: Config, stores: TokenStores, device: torch.device, precision: str) -> None:
        """Nothing is built or measured yet.

        Of ``cell``, ``model``, ``seed``, ``eval`` and ``cache`` are read; ``stores``: the run's, with its
        tokenizer and lengths; ``precision``: ``32`` or ``bf16``.
        """
        self._cell = cell
        self._stores = stores
        self._device = device
        self._precision = precision

    def __call__(self, evaluation_set: EvaluationSet) -> dict[str, NDArray[float64]]:
        """The metrics of every query as float64[q], those of the run itself; kept in the cache.

        Raises:
            ConfigError: A pretrained checkpoint cannot be loaded.
        """
        config = self._cell.eval
        drawn = [config.negatives, config.draws, config.seed]
        key = digest([VERSION, evaluation_set.fingerprint, *drawn, self._weights])

        folder = Path(self._cell.cache) / "untrained" / key
        describe = f"untrained encoder on {evaluation_set.name}"
        return kept_metrics(
            folder, lambda: measure(self._retriever, evaluation_set, config, folder.parent).queries, describe
        )

    @cached_property
    def _weights(self) -> list[Any]:
        model = OmegaConf.to_container(cast(DictConfig, self._cell).model, resolve=True)
        assert isinstance(model, dict)
        model = model_part({str(key): value for key, value in model.items()})
        if model["pretrained"]:
            model["pretrained"] = content_hash(model["pretrained"])
        data = self._stores.data
        how = [data.max_query_length, data.max_passage_length, self._precision, torch.__version__]
        seed = seed_of_weights(self._cell.model, self._cell.seed)
        return [canonical(model), seed, self._stores.fingerprint, *how]

    @cached_property
    def _retriever(self) -> ScorerRetriever:
        tokenizer = self._stores.tokenizer
        scorer = build_scorer(self._cell.model, tokenizer, self._cell.seed, self._precision)
        return ScorerRetriever(scorer.to(self._device), self._stores)
