"""The untrained encoder: a run's initial weights, measured as the run is, to tell what training adds.

It depends on the model, its tokenizer and the seed, not on strategy, data fraction or optimisation, so it is
measured once into the cache for all runs of a sweep that start from the same weights.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from retrieval.config import Config
from retrieval.data.cache import digest
from retrieval.data.testset import EvaluationSet
from retrieval.data.tokens import TokenStores
from retrieval.evaluation.suite import measure
from retrieval.models.families import build_scorer
from retrieval.run.identity import canonical, content_hash, model_part
from retrieval.search.ranking import kept_metrics
from retrieval.search.retriever import ScorerRetriever

# Part of every cache key: raised whenever initial weights or metrics change.
VERSION = "untrained 1"


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

    def __call__(self, evaluation_set: EvaluationSet) -> dict[str, NDArray[np.float64]]:
        """The metrics of every query as float64 ``[q]``, those of the run itself; kept in the cache.

        Raises:
            ConfigError: A pretrained checkpoint cannot be loaded.
        """
        config = self._cell.eval
        drawn = [config.negatives, config.draws, config.seed]
        key = digest([VERSION, evaluation_set.fingerprint, *drawn, self._weights])

        folder = Path(self._cell.cache) / "untrained" / key
        describe = f"untrained encoder on {evaluation_set.name}"
        return kept_metrics(
            folder, lambda: measure(self._retriever, evaluation_set, config).queries, describe
        )

    @cached_property
    def _weights(self) -> list[Any]:
        """What the vectors follow from."""
        model = OmegaConf.to_container(cast(DictConfig, self._cell).model, resolve=True)
        assert isinstance(model, dict)
        model = model_part({str(key): value for key, value in model.items()})
        if model["pretrained"]:
            model["pretrained"] = content_hash(model["pretrained"])
        data = self._stores.data
        how = [data.max_query_length, data.max_passage_length, self._precision, torch.__version__]
        return [canonical(model), self._cell.seed, self._stores.fingerprint, *how]

    @cached_property
    def _retriever(self) -> ScorerRetriever:
        tokenizer = self._stores.tokenizer
        scorer = build_scorer(self._cell.model, tokenizer, self._cell.seed, self._precision)
        return ScorerRetriever(scorer.to(self._device), self._stores)
