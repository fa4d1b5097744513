"""What an attacker needs of a model: vectors of texts, gradients at its word embeddings, the embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.data.layout import group_tokens
from retrieval.data.tokens import TokenStore
from retrieval.errors import ConfigError, ParetrieveError
from retrieval.models.encoder import DualEncoder
from retrieval.models.encoding import encode_rows
from retrieval.search.ranking import FloatArray
from retrieval.search.sentence_transformer import SentenceTransformerEncoder
from retrieval.search.textmodels import load_encoder

_GRADIENT_BATCH = 64
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


class AttackModel(Protocol):
    """A model that is attacked, or a surrogate for it."""

    def encode_passages(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[n, d], truncated as the model truncates passages."""
        ...

    def tokens(self, texts: Sequence[str]) -> list[bytes]:
        """Return a key of each text that is equal for texts the model cannot tell apart."""
        ...

    def gradients(self, texts: Sequence[str], query_vectors: FloatArray) -> Iterator[TokenGradients]:
        """Yield, for each text, the gradient of its inner product with its row of float32[n, d]."""
        ...

    def word_embeddings(self) -> tuple[list[str], FloatArray]:
        """Return the lower-case words that are single tokens, and their embeddings float32[n, hidden]."""
        ...


class DualEncoderModel:
    """A :class:`DualEncoder` with its tokenizer."""

    def __init__(self, encoder: DualEncoder, tokenizer: Any, max_length: int) -> None:
        """``max_length``: tokens of a passage that the encoder sees, special ones included."""
        self._encoder = encoder
        self._tokenizer = tokenizer
        self._max_length = max_length

    def encode_passages(self, texts: Sequence[str]) -> FloatArray:
        """See :class:`AttackModel`."""
        store = _Texts(self._tokenize(texts)["input_ids"])
        return encode_rows(self._encoder, store, np.arange(len(texts)))

    def tokens(self, texts: Sequence[str]) -> list[bytes]:
        """See :class:`AttackModel`."""
        return [np.array(ids, dtype=np.int32).tobytes() for ids in self._tokenize(texts)["input_ids"]]

    def gradients(self, texts: Sequence[str], query_vectors: FloatArray) -> Iterator[TokenGradients]:
        """See :class:`AttackModel`."""
        training = self._encoder.training
        self._encoder.eval()
        try:
            for start in range(0, len(texts), _GRADIENT_BATCH):
                span = slice(start, start + _GRADIENT_BATCH)
                yield from self._batch_gradients(texts[span], query_vectors[span])
        finally:
            self._encoder.train(training)

    def _batch_gradients(self, texts: Sequence[str], queries: FloatArray) -> Iterator[TokenGradients]:
        encoded = self._tokenize(texts, return_offsets_mapping=True)
        lengths = np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int64)
        flat = np.concatenate([np.array(ids, dtype=np.int64) for ids in encoded["input_ids"]])
        device = next(self._encoder.parameters()).device
        batch = group_tokens(flat, lengths).to(device)
        offset = torch.zeros(len(batch.ids), self._encoder.hidden, device=device, requires_grad=True)
        # With the weights fixed, no work goes into their gradients.
        with self._encoder.unchanged(), torch.enable_grad():
            score = (self._encoder(batch, offset) * torch.from_numpy(queries).to(device)).sum()
            (gradient,) = torch.autograd.grad(score, offset)
        rows = gradient.float().cpu().numpy()
        starts = batch.starts()[batch.inverse.cpu().numpy()]
        for index, first in enumerate(starts):
            own = rows[first : first + lengths[index]]
            yield _of_text(encoded["input_ids"][index], encoded["offset_mapping"][index], own)

    def word_embeddings(self) -> tuple[list[str], FloatArray]:
        """See :class:`AttackModel`."""
        weight = self._encoder.backbone.get_input_embeddings().weight  # type: ignore[operator]
        return _whole_words(self._tokenizer, weight)

    def _tokenize(self, texts: Sequence[str], **options: Any) -> Any:
        return self._tokenizer(
            list(texts),
            truncation=True,
            max_length=self._max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
            **options,
        )


class SentenceTransformerModel:
    """Any sentence-transformers model."""

    def __init__(self, encoder: SentenceTransformerEncoder) -> None:
        self.encoder = encoder
        model = encoder.model
        names = (name for name in ("document", "passage", "corpus") if name in model.prompts)
        self._prompt: str = model.prompts.get(next(names, model.default_prompt_name)) or ""

    def encode_passages(self, texts: Sequence[str]) -> FloatArray:
        """See :class:`AttackModel`."""
        return self.encoder.encode_passages(texts)

    def tokens(self, texts: Sequence[str]) -> list[bytes]:
        """See :class:`AttackModel`."""
        features = self._features(texts)
        ids = features["input_ids"].cpu().numpy().astype(np.int32)
        if "attention_mask" in features:
            masks = features["attention_mask"].cpu().numpy().astype(bool)
            return [row[mask].tobytes() for row, mask in zip(ids, masks, strict=True)]
        return [part.tobytes() for part in np.split(ids, features["offsets"].cpu().numpy()[1:])]

    def gradients(self, texts: Sequence[str], query_vectors: FloatArray) -> Iterator[TokenGradients]:
        """See :class:`AttackModel`."""
        self.encoder.model.eval()
        for start in range(0, len(texts), _GRADIENT_BATCH):
            span = slice(start, start + _GRADIENT_BATCH)
            yield from self._batch_gradients(texts[span], query_vectors[span])

    def _batch_gradients(self, texts: Sequence[str], queries: FloatArray) -> Iterator[TokenGradients]:
        model, embeddings = self.encoder.model, self._embeddings()
        features = self._features(texts)
        held: list[torch.Tensor] = []

        def hold(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
            held.append(output.detach().requires_grad_(True))
            return held[-1]

        ids, masks = features["input_ids"].tolist(), features["attention_mask"].bool().tolist()
        handle = embeddings.register_forward_hook(hold)
        try:
            with torch.enable_grad():
                vectors = model(features)["sentence_embedding"][..., : model.truncate_dim]
                if self.encoder.normalize:
                    vectors = torch.nn.functional.normalize(vectors, dim=-1)
                score = (vectors * torch.from_numpy(queries).to(vectors)).sum()
                (gradient,) = torch.autograd.grad(score, held[0])
        finally:
            handle.remove()
        rows = gradient.float().cpu().numpy()
        for text, own, mask, row in zip(texts, ids, masks, rows, strict=True):
            kept = [token for token, real in zip(own, mask, strict=True) if real]
            yield _of_text(kept, self._offsets(text, kept), row[np.array(mask)], len(self._prompt))

    def _offsets(self, text: str, ids: list[int]) -> list[tuple[int, int]]:
        encoded = self.encoder.model.tokenizer(
            self._prompt + text, truncation=True, max_length=len(ids), return_offsets_mapping=True
        )
        if list(encoded["input_ids"]) != ids:
            raise ParetrieveError(
                "the model prepares texts in its own way, so its tokens have no place in them; "
                "set attack.importance=random or attack.surrogate"
            )
        return list(encoded["offset_mapping"])

    def word_embeddings(self) -> tuple[list[str], FloatArray]:
        """See :class:`AttackModel`."""
        return _whole_words(self.encoder.model.tokenizer, self._embeddings().weight)

    def _embeddings(self) -> Any:
        transformer = self.encoder.model.transformers_model
        if transformer is None:
            raise ConfigError(
                "the attacked model has no transformer with word embeddings; set attack.surrogate, or "
                "attack.importance=random and a file as attack.synonyms"
            )
        return transformer.get_input_embeddings()

    def _features(self, texts: Sequence[str]) -> dict[str, Any]:
        model = self.encoder.model
        features = model.preprocess(list(texts), prompt=self._prompt or None, task="document")
        moved = {key: v.to(model.device) if hasattr(v, "to") else v for key, v in features.items()}
        return moved


class _Texts(TokenStore):
    """Token ids of texts that are in no collection, for :func:`encode_rows`."""

    def __init__(self, encoded: list[list[int]]) -> None:
        lengths = [len(ids) for ids in encoded]
        self.offsets = np.cumsum([0, *lengths]).astype(np.int64)
        self.ids = np.fromiter((token for ids in encoded for token in ids), np.int64, sum(lengths))


def load_model(source: str) -> SentenceTransformerModel:
    """Load a run's encoder (``source``: its folder) or a sentence-transformers folder or hub id.

    Raises:
        ConfigError: There is no such model.
    """
    return SentenceTransformerModel(load_encoder(source))


def _of_text(
    ids: list[int], spans: list[tuple[int, int]], rows: FloatArray, shift: int = 0
) -> TokenGradients:
    """Keep the tokens of the text itself; ``shift``: characters of the prompt before it."""
    kept = [index for index, span in enumerate(spans) if tuple(span) != _SPECIAL and span[0] >= shift]
    return TokenGradients(
        ids=np.array(ids, dtype=np.int64)[kept],
        spans=np.array(spans, dtype=np.int64).reshape(-1, 2)[kept] - shift,
        gradients=rows[kept],
    )


def _whole_words(tokenizer: Any, weight: torch.Tensor) -> tuple[list[str], FloatArray]:
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
