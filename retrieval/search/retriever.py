"""A model over texts, as measuring, mining, denoising and attacks see it; ours among them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.data.arrays import BYTES_AT_ONCE, FloatArray
from retrieval.data.collection import Collection
from retrieval.data.layout import group_tokens
from retrieval.data.quality import ReadTexts
from retrieval.data.testset import IntArray
from retrieval.data.tokens import Side, TokenStore, TokenStores
from retrieval.models.encoding import encode_rows
from retrieval.models.flops import Work
from retrieval.models.scorer import Scorer
from retrieval.models.scores import Scores
from retrieval.run.heap import heap_trimmer

GRADIENT_BATCH = 64
"""Texts whose gradients are taken together."""

_SPECIAL = (0, 0)


@dataclass(frozen=True)
class TokenGradients:
    """Gradient of a score at the tokens of one passage; tokens that are no text of it are left out."""

    ids: NDArray[np.int64]
    """int64[t], token ids."""
    spans: NDArray[np.int64]
    """int64[t, 2], start and end of each token in the text, in characters."""
    gradients: FloatArray
    """float32[t, hidden], with respect to each token's word embedding."""


def texts_at_once(row_bytes: int, most: int) -> int:
    """How many texts are encoded together: ``most``, or as many as :data:`BYTES_AT_ONCE` holds."""
    return most if row_bytes == 0 else max(1, min(most, BYTES_AT_ONCE // row_bytes))


class Retriever(ABC):
    """Encodes queries and passages of collections to rows; :attr:`scores` tells the scores of rows."""

    scores: Scores
    precision = "32"
    """Of the states that its rows are made of: ``32`` or ``bf16``."""

    @property
    def read(self) -> Sequence[ReadTexts]:
        """What it has encoded so far of which collections, where it is a tokenizer that reads them."""
        return ()

    def row_bytes(self, side: Side) -> int:
        """Bytes of the row of a text of ``side`` at most; 0: not known before texts are encoded."""
        return 0

    @abstractmethod
    def encode(self, collection: Collection, side: Side, rows: IntArray) -> FloatArray:
        """float32[n, …]: the ``queries`` or ``passages`` of a collection at ``rows``."""


class TextScorer(Retriever, Scores):
    """Scores texts of one collection as they are: rows are their numbers in it."""

    def __init__(self, collection: Collection) -> None:
        self.scores = self
        self._collection = collection

    def encode(self, collection: Collection, side: Side, rows: IntArray) -> Any:
        """The rows themselves: int64[n]."""
        return rows


class TextRetriever(Retriever):
    """A retriever that encodes any text."""

    work_of_texts: Work = Work()
    """Texts that are in no collection and were put through the model since this was last taken."""

    @abstractmethod
    def encode_texts(self, texts: Sequence[str], side: Side) -> FloatArray:
        """float32[n, …] of texts that are in no collection, cut as those of ``side``."""

    def take_work_of_texts(self) -> Work:
        """:attr:`work_of_texts`, which begins anew, so that every measurement has its own."""
        taken, self.work_of_texts = self.work_of_texts, Work()
        return taken


class Attackable(TextRetriever):
    """A retriever whose inside is open: it tells gradients at its word embeddings, too."""

    @abstractmethod
    def tokens(self, texts: Sequence[str]) -> list[bytes]:
        """A key of each passage that is equal for passages the model cannot tell apart."""

    @abstractmethod
    def word_embeddings(self) -> tuple[list[str], FloatArray]:
        """The lower-case words that are single tokens, and their embeddings float32[n, hidden]."""

    @abstractmethod
    def _gradients(self, texts: Sequence[str], queries: FloatArray) -> Iterator[TokenGradients]:
        """Those of a few texts."""

    def gradients(self, texts: Sequence[str], queries: FloatArray) -> Iterator[TokenGradients]:
        """Yield, for each passage, the gradient of its score with the row beside it of float32[n, …]."""
        for start in range(0, len(texts), GRADIENT_BATCH):
            span = slice(start, start + GRADIENT_BATCH)
            yield from self._gradients(texts[span], queries[span])


def gradients_of_text(
    ids: list[int], spans: list[tuple[int, int]], rows: FloatArray, shift: int = 0
) -> TokenGradients:
    """Keep the tokens of the text itself; ``shift``: characters of the prompt before it."""
    kept = [index for index, span in enumerate(spans) if tuple(span) != _SPECIAL and span[0] >= shift]
    return TokenGradients(
        ids=np.array(ids, dtype=np.int64)[kept],
        spans=np.array(spans, dtype=np.int64).reshape(-1, 2)[kept] - shift,
        gradients=rows[kept],
    )


def whole_words(tokenizer: Any, weight: torch.Tensor) -> tuple[list[str], FloatArray]:
    """Words that the tokenizer makes one token of, by ascending token id.

    Markers of a word's start are SentencePiece's and byte-level BPE's; a WordPiece continuation (``##ing``)
    is no word of letters.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    vocabulary = sorted(backend.get_vocab().items(), key=lambda item: item[1])
    named = [(token.lstrip("▁Ġ"), index) for token, index in vocabulary]
    named = [(word, index) for word, index in named if len(word) > 1 and word.isalpha() and word.islower()]
    words: dict[str, int] = {}
    for prefix in (" ", ""):
        encodings = backend.encode_batch([prefix + word for word, _ in named], add_special_tokens=False)
        for (word, index), encoding in zip(named, encodings, strict=True):
            # A tokenizer that was used with padding still pads.
            real = [token for token, mask in zip(encoding.ids, encoding.attention_mask) if mask]
            if real == [index]:
                words.setdefault(word, index)
    rows = torch.tensor(list(words.values()), dtype=torch.long, device=weight.device)
    return list(words), weight.detach()[rows].float().cpu().numpy()


class ScorerRetriever(Attackable):
    """A model of ours, trained or in training, as a retriever."""

    def __init__(self, scorer: Scorer, stores: TokenStores, *, progress: bool = False) -> None:
        """``stores``: of the run, with its tokenizer and lengths; ``progress``: show bars over passages."""
        self.scores = scorer.host_scores()
        self.precision = scorer.precision
        self._scorer = scorer
        self._stores = stores
        self._progress = progress
        self._trim = heap_trimmer()
        self.work = Work()
        """Texts of collections that were put through the scorer so far."""

    @property
    def read(self) -> Sequence[ReadTexts]:
        """See :class:`Retriever`; whole collections."""
        return self._stores.read

    def row_bytes(self, side: Side) -> int:
        """See :class:`Retriever`."""
        return 4 * math.prod(self._scorer.row_shape(self._stores.length(side)))

    def encode(self, collection: Collection, side: Side, rows: IntArray) -> FloatArray:
        """See :class:`Retriever`."""
        store = self._stores(collection, side)
        self.work += self._scorer.encoding_work(store.lengths(rows))
        shown = f"encoding {collection.name}" if self._progress and side == "passages" else None
        found = encode_rows(self._scorer, store, rows, self._stores.length(side), shown)
        if self._trim is not None and side == "passages":
            # Every batch has another number of tokens: bert-tiny's heap grew by 1.2 GB in 100,000 passages.
            self._trim(0)
        return found

    def encode_texts(self, texts: Sequence[str], side: Side) -> FloatArray:
        """See :class:`Retriever`."""
        store = _Texts(self._stores.tokenize(texts, side)["input_ids"])
        lengths = np.diff(store.offsets).astype(np.float64)
        self.work_of_texts += Work(float(lengths.sum()), float((lengths**2).sum()), len(texts))
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
                score = scorer.pair_scores(scorer.from_host(queries), scorer(batch, offset)).sum()
                (gradient,) = torch.autograd.grad(score, offset)
        finally:
            scorer.train(training)
        rows = batch.split(gradient.float().cpu().numpy())
        for ids, spans, own in zip(encoded["input_ids"], encoded["offset_mapping"], rows, strict=True):
            yield gradients_of_text(ids, spans, own, len(self._stores.prompt("passages")))


class _Texts(TokenStore):
    """Token ids of texts that are in no collection, for :func:`encode_rows`."""

    def __init__(self, encoded: list[list[int]]) -> None:
        lengths = [len(ids) for ids in encoded]
        self.offsets = np.cumsum([0, *lengths]).astype(np.int64)
        self.ids = np.fromiter((token for ids in encoded for token in ids), np.int64, sum(lengths))
