"""From a configuration to everything a run reads: collections, tokenizer, token stores, training pairs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.config import Config
from retrieval.config.data import ROLES
from retrieval.config.model import FAMILIES
from retrieval.data import sources, splits
from retrieval.data.batches import TrainingPairs
from retrieval.data.collection import Collection, Judgements, open_collection
from retrieval.data.negatives import HardNegatives, NegativeLists, relevance_of
from retrieval.data.quality import ReadTexts, check_negatives
from retrieval.data.tokens import (
    TokenStores,
    load_tokenizer,
    tokenizer_fingerprint,
    tokenizer_folder,
)
from retrieval.models.checkpoint import checkpoint_of, prompts_of
from retrieval.search import denoising, mining
from retrieval.training.strategy import strategy_of
from retrieval.training.streams import TrainingData

TRAIN = "train"


@dataclass(frozen=True, eq=False)
class PreparedData:
    """The opened suite of a run, with its tokenizer."""

    config: Config
    in_domain: Collection
    robust: dict[str, Collection]
    robust_dev: dict[str, Collection]
    ood: dict[str, Collection]
    overlap: splits.Overlap
    store: TokenStores
    """Token store of the ``queries`` or ``passages`` of a collection."""

    @property
    def tokenizer(self) -> Any:
        """The run's."""
        return self.store.tokenizer

    def training(self) -> TrainingData:
        """Pairs to train on: the subset ``data.frac`` in-domain, all pairs of the robust domains.

        In-domain pairs bring mined negatives where the strategy draws from them.
        """
        robust = tuple(self._pairs(name, part, 1.0) for name, part in self.robust.items())
        frac, negatives = self.config.data.frac, self._negatives()
        return TrainingData(self._pairs(self.in_domain.name, self.in_domain, frac, negatives), robust)

    def _negatives(self) -> HardNegatives | None:
        config, cache = self.config.strategy, Path(self.config.cache)
        strategy = strategy_of(config)
        if not strategy.hard_negatives:
            return None
        folder = mining.mine(self.in_domain, config.hard.source, config.hard.depth, cache)
        if strategy.denoised:
            folder = denoising.denoise(folder, self.in_domain, config.denoise, cache)
        relevance = relevance_of(self.in_domain, cache)
        return HardNegatives(NegativeLists.open(folder), relevance, config.hard.refresh)

    def _pairs(
        self, name: str, collection: Collection, frac: float, negatives: HardNegatives | None = None
    ) -> TrainingPairs:
        judged = collection.judgements(TRAIN)
        usable = self.overlap.keep(name, judged)
        chosen = usable
        if frac < 1:
            query_ids = collection.query_ids(usable.query_rows)
            passage_ids = collection.passage_ids(usable.passage_rows)
            chosen = usable.take(splits.subset(usable, query_ids, passage_ids, frac, self.config.seed))
        if negatives is None:
            check_negatives(name, collection, chosen)
        queries, passages = self.store(collection, "queries"), self.store(collection, "passages")
        for side, store in (("queries", queries), ("passages", passages)):
            ReadTexts(collection, side, store.counts).check_learnable()
        return TrainingPairs(name, queries, passages, pairs=chosen, known=judged, negatives=negatives)

    def counts(self) -> dict[str, Any]:
        """Counts of every collection and every drop, for the manifest."""
        counted = {f"in_domain/{self.in_domain.name}": self.in_domain.counts}
        for role in ROLES:
            counted |= {f"{role}/{c.name}": c.counts for c in getattr(self, role).values()}
        return {**counted, **self.overlap.counts}

    def fingerprints(self) -> dict[str, str]:
        """Content hashes of every collection and of the tokenizer, for the manifest."""
        collections = [self.in_domain, *(c for role in ROLES for c in getattr(self, role).values())]
        return {
            **{f"collection/{c.name}": c.fingerprint for c in collections},
            "tokenizer": self.store.fingerprint,
        }


def prepare(config: Config) -> PreparedData:
    """Open the suite of ``config``; whatever is missing is built into the cache once.

    Raises:
        ConfigError: the configuration names something that is not there, or roles overlap.
        DataError: a collection is malformed.
    """
    cache = Path(config.cache)
    suite = sources.prepare(config.data, cache)
    in_domain = open_collection(suite.in_domain, cache)
    robust, robust_dev, ood = (open_domains(getattr(suite, role), cache) for role in ROLES)
    overlap = splits.check_disjoint(in_domain, robust, ood, config.data.overlap, robust_dev)
    checkpoint, prompts = checkpoint_of(config.model), prompts_of(config.model, checkpoint_of(config.model))
    found = checkpoint.backbone if checkpoint else _trained_tokenizer(config, in_domain, cache)
    tokenizer = load_tokenizer(found)
    fill = FAMILIES[config.model.family].fill_of(config.model, tokenizer)
    stores = TokenStores(config.data, cache, tokenizer, tokenizer_fingerprint(tokenizer), prompts, fill)
    return PreparedData(config, in_domain, robust, robust_dev, ood, overlap, stores)


def open_domains(folders: Mapping[str, Path], cache: Path) -> dict[str, Collection]:
    """The collections of a role of a suite by name. Raises DataError if one is malformed."""
    return {name: open_collection(folder, cache, name) for name, folder in folders.items()}


def _trained_tokenizer(config: Config, collection: Collection, cache: Path) -> Path:
    """WordPiece of the training split's queries and passages: test text has no say in the vocabulary."""
    judged: Judgements = collection.judgements(TRAIN)

    def texts() -> Iterator[str]:
        for rows, part in (
            (judged.query_rows, collection.queries()),
            (judged.passage_rows, collection.passages()),
        ):
            used = iter(np.unique(rows).tolist())
            wanted = next(used)
            for row, (_, text) in enumerate(part):
                if row == wanted:
                    yield text
                    wanted = next(used, -1)

    return tokenizer_folder(texts, collection.fingerprint, config.data.vocabulary, cache)
