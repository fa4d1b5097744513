"""A scorer with its tokenizer and lengths, reading token stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from retrieval.data.arrays import FloatArray
from retrieval.data.collection import Collection
from retrieval.data.layout import group_tokens
from retrieval.data.testset import IntArray
from retrieval.data.tokens import Side, TokenStore, TokenStores
from retrieval.models.encoding import encode_rows
from retrieval.models.flops import Work
from retrieval.models.scorer import Scorer
from retrieval.run.hardware import heap_trimmer
from retrieval.search.retriever import Attackable, TokenGradients, gradients_of_text, whole_words


class ScorerRetriever(Attackable):
    """A model of ours, trained or in training, as a retriever."""

    def __init__(self, scorer: Scorer, stores: TokenStores, *, progress: bool = False) -> None:
        """``stores``: of the run, with its tokenizer and lengths; ``progress``: show bars over passages."""
        self.scores = scorer.host_scores()
        self._scorer = scorer
        self._stores = stores
        self._progress = progress
        self._trim = heap_trimmer()
        self.work = Work()
        """Texts of collections that were put through the scorer so far."""

    def encode(self, collection: Collection, side: Side, rows: IntArray) -> FloatArray:
        """See :class:`Retriever`."""
        store = self._stores(collection, side)
        lengths = store.lengths(rows).astype(np.float64)
        self.work += Work(float(lengths.sum()), float((lengths**2).sum()), len(rows))
        shown = f"encoding {collection.name}" if self._progress and side == "passages" else None
        found = encode_rows(self._scorer, store, rows, self._stores.length(side), shown)
        if self._trim is not None and side == "passages":
            # Every batch has another number of tokens: bert-tiny's heap grew by 1.2 GB in 100,000 passages.
            self._trim(0)
        return found

    def encode_texts(self, texts: Sequence[str], side: Side) -> FloatArray:
        """See :class:`Retriever`."""
        store = _Texts(self._stores.tokenize(texts, side)["input_ids"])
        return encode_rows(self._scorer, store, np.arange(len(texts)), self._stores.length(side))

    def tokens(self, texts: Sequence[str]) -> list[bytes]:
        """See :class:`Retriever`."""
        encoded = self._stores.tokenize(texts, "passages")["input_ids"]
        return [np.array(ids, dtype=np.int32).tobytes() for ids in encoded]

    def word_embeddings(self) -> tuple[list[str], FloatArray]:
        """See :class:`Retriever`."""
        return whole_words(self._stores.tokenizer, self._scorer.word_table)

    def _gradients(self, texts: Sequence[str], queries: FloatArray) -> Iterator[TokenGradients]:
        encoded = self._stores.tokenize(texts, "passages", return_offsets_mapping=True)
        store = _Texts(encoded["input_ids"])
        scorer = self._scorer
        training = scorer.training
        device = scorer.word_table.device
        batch = group_tokens(*store.gather(np.arange(len(texts)))).to(device)
        offset = torch.zeros(len(batch.ids), scorer.hidden, device=device, requires_grad=True)
        scorer.eval()
        try:
            # With the weights fixed, no work goes into their gradients.
            with scorer.unchanged(), torch.enable_grad():
                score = scorer.pair_scores(torch.tensor(queries, device=device), scorer(batch, offset)).sum()
                (gradient,) = torch.autograd.grad(score, offset)
        finally:
            scorer.train(training)
        rows = batch.split(gradient.float().cpu().numpy())
        for ids, spans, own in zip(encoded["input_ids"], encoded["offset_mapping"], rows, strict=True):
            yield gradients_of_text(ids, spans, own)


class _Texts(TokenStore):
    """Token ids of texts that are in no collection, for :func:`encode_rows`."""

    def __init__(self, encoded: list[list[int]]) -> None:
        lengths = [len(ids) for ids in encoded]
        self.offsets = np.cumsum([0, *lengths]).astype(np.int64)
        self.ids = np.fromiter((token for ids in encoded for token in ids), np.int64, sum(lengths))
