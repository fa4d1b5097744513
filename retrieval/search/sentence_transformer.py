"""Any sentence-transformers model as a retriever."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from retrieval.data.arrays import FloatArray
from retrieval.data.collection import Collection
from retrieval.data.quality import ReadTexts
from retrieval.data.testset import IntArray
from retrieval.data.tokens import Side, check_words, give_padding
from retrieval.errors import ConfigError, ParetrieveError, first_line
from retrieval.models.backbones import check_weights
from retrieval.models.checkpoint import VECTORS, check_parts, kind_of
from retrieval.models.scores import INNER_PRODUCTS
from retrieval.models.soundness import check_vocabulary
from retrieval.search.packed import BAR_TEXTS, PackedSentenceTransformer
from retrieval.search.reading import TASKS, Count, Reading, uncounted
from retrieval.search.retriever import Attackable, TokenGradients, gradients_of_text, whole_words

SIMILARITIES = ("dot", "cosine")


class SentenceTransformerRetriever(Attackable):
    """A retriever around a sentence-transformers model; see :func:`sentence_transformer_retriever`."""

    scores = INNER_PRODUCTS

    def __init__(
        self,
        model: Any,
        *,
        normalize: bool,
        temperature: float,
        batch_size: int,
        block: int,
        precision: str = "32",
    ) -> None:
        self.model = model
        self._packed: PackedSentenceTransformer | None = None
        if PackedSentenceTransformer.supports(model):
            self._packed = PackedSentenceTransformer(model, precision)
            self.precision = precision
        elif model.dtype == torch.bfloat16:
            self.precision = "bf16"
        self.normalize = normalize
        self._temperature = np.float32(temperature)
        self._block = block
        self._options = {
            "batch_size": batch_size,
            "normalize_embeddings": normalize,
            "convert_to_numpy": True,
        }
        self._prompt = self._prompt_of("document", "passage", "corpus")
        self._prompts: dict[Side, str] = {"queries": self._prompt_of("query"), "passages": self._prompt}
        self._reading = Reading(model, self._prompts)

    @property
    def read(self) -> Sequence[ReadTexts]:
        """See :class:`Retriever`; the texts that were encoded."""
        return self._reading.read

    def _prompt_of(self, *names: str) -> str:
        """The first prompt of these names that the model has, or its default one."""
        known = (name for name in names if name in self.model.prompts)
        return self.model.prompts.get(next(known, self.model.default_prompt_name)) or ""

    def encode(self, collection: Collection, side: Side, rows: IntArray) -> FloatArray:
        """float32[n, d]; see :class:`Retriever`."""
        queries = side == "queries"
        texts_of = collection.query_texts if queries else collection.passage_texts
        block_size = max(1, len(rows)) if queries else self._block
        vectors: FloatArray = np.empty((0, 0), dtype=np.float32)
        for start in range(0, len(rows), block_size):
            own = rows[start : start + block_size]
            with self._reading.of(collection, side, own) as count:
                block = self._encoded(texts_of(own), side, count)
            if start == 0:
                vectors = np.empty((len(rows), block.shape[1]), dtype=np.float32)
            vectors[start : start + len(block)] = block
        return vectors

    def encode_texts(self, texts: Sequence[str], side: Side) -> FloatArray:
        """float32[n, d]; the temperature is in the queries' vectors."""
        return self._encoded(texts, side, uncounted)

    def _encoded(self, texts: Sequence[str], side: Side, count: Count) -> FloatArray:
        of_queries = side == "queries"
        if self._packed is not None:
            vectors = self._by_packed(self._packed, texts, side, count)
        else:
            encode = self.model.encode_query if of_queries else self.model.encode_document
            shown = len(texts) >= BAR_TEXTS
            vectors = encode(list(texts), show_progress_bar=shown, **self._options).astype(np.float32)
        return vectors / self._temperature if of_queries else vectors

    def _by_packed(
        self, packed: PackedSentenceTransformer, texts: Sequence[str], side: Side, count: Count
    ) -> FloatArray:
        vectors = packed(texts, self._prompts[side], TASKS[side], side, count)[:, : self.model.truncate_dim]
        if not self.normalize:
            return vectors
        return torch.nn.functional.normalize(torch.from_numpy(vectors), dim=-1).numpy()

    def tokens(self, texts: Sequence[str]) -> list[bytes]:
        """See :class:`Retriever`."""
        features = self._features(texts)
        ids = features["input_ids"].cpu().numpy().astype(np.int32)
        if "attention_mask" in features:
            masks = features["attention_mask"].cpu().numpy().astype(bool)
            return [row[mask].tobytes() for row, mask in zip(ids, masks, strict=True)]
        return [part.tobytes() for part in np.split(ids, features["offsets"].cpu().numpy()[1:])]

    def word_embeddings(self) -> tuple[list[str], FloatArray]:
        """See :class:`Retriever`."""
        return whole_words(self.model.tokenizer, self._embeddings().weight)

    def _gradients(self, texts: Sequence[str], queries: FloatArray) -> Iterator[TokenGradients]:
        model, embeddings = self.model.eval(), self._embeddings()
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
                if self.normalize:
                    vectors = torch.nn.functional.normalize(vectors, dim=-1)
                score = (vectors * torch.from_numpy(queries).to(vectors)).sum()
                (gradient,) = torch.autograd.grad(score, held[0])
        finally:
            handle.remove()
        rows = gradient.float().cpu().numpy()
        for text, own, mask, row in zip(texts, ids, masks, rows, strict=True):
            kept = [token for token, real in zip(own, mask, strict=True) if real]
            yield gradients_of_text(kept, self._offsets(text, kept), row[np.array(mask)], len(self._prompt))

    def _offsets(self, text: str, ids: list[int]) -> list[tuple[int, int]]:
        encoded = self.model.tokenizer(
            self._prompt + text, truncation=True, max_length=len(ids), return_offsets_mapping=True
        )
        if list(encoded["input_ids"]) != ids:
            raise ParetrieveError(
                "the model prepares texts in its own way, so its tokens have no place in them; "
                "set attack.importance=random or attack.surrogate"
            )
        return list(encoded["offset_mapping"])

    def _embeddings(self) -> Any:
        transformer = self.model.transformers_model
        if transformer is None:
            raise ConfigError(
                "the attacked model has no transformer with word embeddings; set attack.surrogate, or "
                "attack.importance=random and a file as attack.synonyms"
            )
        return transformer.get_input_embeddings()

    def _features(self, texts: Sequence[str]) -> dict[str, Any]:
        features = self.model.preprocess(list(texts), prompt=self._prompt or None, task="document")
        device = self.model.device
        return {key: v.to(device) if hasattr(v, "to") else v for key, v in features.items()}


def sentence_transformer_retriever(
    model: str | Path,
    *,
    similarity: str | None = None,
    temperature: float = 1.0,
    batch_size: int = 64,
    device: str | None = None,
    block: int = 10_000,
    precision: str = "32",
    prompts: tuple[str | None, str | None] = (None, None),
) -> SentenceTransformerRetriever:
    """A retriever around a sentence-transformers folder or hub id.

    Queries and passages get the prompts that the model defines for them. With cosine similarity
    vectors are normalised, so that inner products are the scores.

    Args:
        model: Local folder or hub id.
        similarity: ``dot`` or ``cosine``; ``None`` takes the model's own.
        temperature: Scores are divided by it; contrastive entropy depends on it, rankings do not.
        batch_size: Texts a forward pass.
        device: A torch device; ``None`` lets sentence-transformers choose.
        block: Passages whose texts are read at a time.
        precision: ``32`` or ``bf16``, of the transformer, where it is a BERT; others compute in their own.
        prompts: Text before each query and each passage; ``None``: the model's own.

    Raises:
        ConfigError: The model cannot be loaded, or its scores are not inner products of its vectors.
    """
    check_folder(model)
    check_parts(str(model))
    if kind_of(str(model)) != VECTORS:
        raise ConfigError(f"{model}: a {kind_of(str(model))} gives texts no dense vectors; give a bi-encoder")
    loaded = _loaded(str(model), device)
    measure = similarity or loaded.similarity_fn_name or "cosine"
    if measure not in SIMILARITIES:
        raise ConfigError(
            f"{model}: similarity {measure!r} is no inner product; valid: {', '.join(SIMILARITIES)}"
        )
    normalize = measure == "cosine"
    given = {
        name: text for name, text in zip(("query", "document"), prompts, strict=True) if text is not None
    }
    loaded.prompts = {**loaded.prompts, **given}
    return SentenceTransformerRetriever(
        loaded,
        normalize=normalize,
        temperature=temperature,
        batch_size=batch_size,
        block=block,
        precision=precision,
    )


def _loaded(source: str, device: str | None) -> Any:
    """The model, once its weights, its tokenizer and its vectors have been found sound.

    Raises:
        ConfigError: It cannot be loaded, or one of them is not.
    """
    from sentence_transformers import SentenceTransformer

    try:
        loaded = SentenceTransformer(source, device=device)
    except Exception as error:  # libraries that read weights raise whatever their parsers do
        reason = first_line(error) or type(error).__name__
        raise ConfigError(f"{source}: not loadable as a sentence-transformers model: {reason}") from error
    check_weights(source, source)
    if hasattr(loaded.tokenizer, "pad_token"):
        give_padding(loaded.tokenizer, source)
        check_words(loaded.tokenizer, source)
        transformer = loaded.transformers_model
        table = None if transformer is None else transformer.get_input_embeddings()
        rows = getattr(table, "num_embeddings", None)
        if rows is not None:
            check_vocabulary(loaded.tokenizer, rows, f"{source}: ")
    _check_encoding(loaded, source)
    return loaded


def _check_encoding(model: Any, named: str) -> None:
    """Encode an empty and a short text.

    Raises:
        ConfigError: It cannot, or what it gives is not finite.
    """
    try:
        vectors = model.encode(["", "a"], show_progress_bar=False, convert_to_numpy=True)
    except Exception as error:  # whatever a model of another's raises on its way
        reason = first_line(error) or type(error).__name__
        raise ConfigError(f"{named}: it cannot encode a text ({reason}); give a model of texts") from error
    if not np.isfinite(np.asarray(vectors, dtype=np.float32)).all():
        raise ConfigError(f"{named}: its vectors are not finite; load the model again")


def check_folder(model: str | Path, option: str = "") -> None:
    """Refuse a missing folder; text that is no explicit path may be a hub id.

    Raises:
        ConfigError: there is none; the line begins with ``option``.
    """
    is_path = isinstance(model, Path) or model.startswith(("/", "./", "../"))
    if is_path and not Path(model).is_dir():
        raise ConfigError(f"{option}{model}: no such folder; give a sentence-transformers folder or a hub id")
