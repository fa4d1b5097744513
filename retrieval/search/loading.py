"""Retrievers by name: BM25, a run folder, or a folder or hub id of a sentence-transformers model."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from omegaconf import DictConfig

from retrieval.config import Config, ModelConfig
from retrieval.config.model import FAMILIES, WHOLE
from retrieval.data.arrays import FloatArray
from retrieval.data.collection import Collection
from retrieval.data.testset import IntArray
from retrieval.data.tokens import TokenStores, load_tokenizer, tokenizer_fingerprint
from retrieval.errors import ConfigError, first_line
from retrieval.models.adapters import load_trained
from retrieval.models.checkpoint import VECTORS, checkpoint_of, kind_of, prompts_of, read_checkpoint
from retrieval.models.families import build_scorer
from retrieval.models.soundness import positions
from retrieval.run import hardware
from retrieval.run.directory import stored_config
from retrieval.run.identity import content_hash
from retrieval.search.bm25 import K1, B, Bm25Retriever
from retrieval.search.bm25 import VERSION as BM25_VERSION
from retrieval.search.retriever import Attackable, Retriever, ScorerRetriever, TextScorer
from retrieval.search.sentence_transformer import sentence_transformer_retriever

BM25 = "bm25"
TEXTS_A_BLOCK = 16_384
"""Passages that mining and teachers encode at a time."""

UNBOUNDED = 10**6
"""Tokens of a text from which on a tokenizer means that it has no limit."""

_PAIRS_A_BATCH = 64


class CrossEncoderRetriever(TextScorer):
    """A score is a forward pass of the pair."""

    def __init__(self, collection: Collection, source: str) -> None:
        """Raise :class:`ConfigError` where the model cannot be loaded, or gives several scores a pair."""
        from sentence_transformers import CrossEncoder

        super().__init__(collection)
        try:
            self._model = CrossEncoder(source)
        except Exception as error:  # libraries that read weights raise whatever their parsers do
            raise ConfigError(f"{source}: not loadable as a cross-encoder: {first_line(error)}") from error
        if self._model.num_labels != 1:
            raise ConfigError(
                f"{source}: a cross-encoder with {self._model.num_labels} labels has no single relevance "
                "score; give one that has"
            )

    def matrix(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """See :class:`Scores`."""
        return self.listed(queries, passages, np.tile(np.arange(len(passages)), (len(queries), 1)))

    def listed(self, queries: FloatArray, passages: FloatArray, columns: IntArray) -> FloatArray:
        """See :class:`Scores`; all pairs together."""
        query_texts = self._collection.query_texts(np.asarray(queries))
        owners, places = np.nonzero(columns >= 0)
        wanted, texts_of = np.unique(passages[columns[owners, places]], return_inverse=True)
        texts = self._collection.passage_texts(wanted)
        pairs = [(query_texts[owner], texts[place]) for owner, place in zip(owners, texts_of, strict=True)]
        found = np.full(columns.shape, -np.inf, np.float32)
        if pairs:
            options = {"batch_size": _PAIRS_A_BATCH, "show_progress_bar": False, "convert_to_numpy": True}
            found[owners, places] = self._model.predict(pairs, **options)
        return found


def model_identity(source: str) -> str:
    """What identifies a model in a cache key: BM25's version, the content of a folder, or the hub id."""
    return f"{BM25_VERSION}, k1={K1}, b={B}" if source == BM25 else content_hash(source)


def load_retriever(source: str) -> Attackable:
    """The retriever of a run folder, a sentence-transformers folder or a hub id.

    Raises:
        ConfigError: there is none, a run has no model yet, or scores are no inner products.
    """
    folder = Path(source)
    exported = folder / "model"
    if not exported.is_dir():
        if (folder / "status.json").is_file():
            raise ConfigError(f"{source}: this run has no model/ folder; finish the run first")
        return sentence_transformer_retriever(source, block=TEXTS_A_BLOCK)
    return run_retriever(folder, block=TEXTS_A_BLOCK)


def run_retriever(
    run: Path, device: str | None = None, cache: str | None = None, **options: Any
) -> Attackable:
    """The retriever of a finished run: what it exported, or of another family its checkpoint.

    Args:
        run: The run's folder.
        device: Torch device; ``None``: the best there is.
        cache: Folder of token stores, which other families read; ``None``: the run's.
        options: Of :func:`sentence_transformer_retriever`, which reads a dual encoder.

    Raises:
        ConfigError: The run has no model, or no checkpoint.
    """
    cell = stored_config(run) if (run / "config.yaml").is_file() else None
    if cell is None or cell.model.family == ModelConfig.family:
        # Similarity and temperature of a run are part of its vectors.
        return sentence_transformer_retriever(str(run / "model"), similarity="dot", device=device, **options)
    checkpoint = run / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        raise ConfigError(
            f"{run}: {checkpoint} is missing, from which model.family={cell.model.family} is read"
        )
    place, precision = hardware.chosen(cell, device)
    cell.cache = cache or cell.cache
    stores = run_stores(run, cell)
    cell.model.load_in = WHOLE  # as it is exported
    scorer = build_scorer(cell.model, stores.tokenizer, cell.seed, precision)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    load_trained(scorer, {name.removeprefix("encoder."): value for name, value in state.items()})
    return ScorerRetriever(scorer.to(place).eval(), stores)


def model_retriever(source: str, cell: Config, device: str | None, **options: Any) -> Attackable:
    """The retriever of a folder or hub id of sentence-transformers, whatever family it is of.

    Args:
        source: The folder or hub id.
        cell: Of it, ``cache``, ``trainer``, ``train.precision`` and the prompts of ``model`` are read, and
            ``data`` for the lengths of texts where the folder says none.
        device: Torch device; ``None``: the best there is.
        options: Of :func:`sentence_transformer_retriever`, which reads models of one vector a text.

    Raises:
        ConfigError: The model cannot be loaded, or is of a kind that no family reads.
    """
    kind = kind_of(source)
    place, precision = hardware.chosen(cell, device)
    if cell.train.precision == "auto":
        precision = "32"  # as what others publish: bf16 moves nDCG@10 by some thousandths
    if kind == VECTORS:
        prompts = (cell.model.query_prompt, cell.model.passage_prompt)
        options |= {"device": str(place), "precision": precision, "prompts": prompts}
        return sentence_transformer_retriever(source, **options)
    families = {part.kind: name for name, part in FAMILIES.items() if part.kind}
    if kind not in families:
        raise ConfigError(
            f"{source}: a {kind} is of no family that can be measured; give a folder of "
            f"{', '.join([VECTORS, *families])}"
        )
    model = ModelConfig(
        family=families[kind],
        init="pretrained",
        pretrained=source,
        query_prompt=cell.model.query_prompt,
        passage_prompt=cell.model.passage_prompt,
    )
    checkpoint = read_checkpoint(source)
    tokenizer = load_tokenizer(checkpoint.backbone)
    scorer = build_scorer(model, tokenizer, cell.seed, precision)
    scorer.temperature *= options.get("temperature") or 1.0  # the folder's scores, divided by it
    data = cast(DictConfig, cell.data).copy()
    lengths = checkpoint.lengths or (tokenizer.model_max_length,) * 2
    most = positions(scorer.backbone)
    for key, own, length in zip(
        ("max_query_length", "max_passage_length"),
        lengths,
        (data.max_query_length, data.max_passage_length),
        strict=True,
    ):
        known = own is not None and own < UNBOUNDED
        data[key] = min(own if known else length, most or UNBOUNDED)
    fingerprint = tokenizer_fingerprint(tokenizer)
    fill = type(scorer).fill_of(model, tokenizer)
    stores = TokenStores(cast(Any, data), Path(cell.cache), tokenizer, fingerprint, scorer.prompts, fill)
    return ScorerRetriever(scorer.to(place).eval(), stores)


def run_stores(run: Path, cell: Config) -> TokenStores:
    """Token stores with the tokenizer of a finished run and the lengths and the cache of ``cell``."""
    tokenizer = load_tokenizer(run / "model")
    # Saved with the limits of its last call; those of the run are in its configuration.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    prompts = prompts_of(cell.model, checkpoint_of(cell.model))
    fill = FAMILIES[cell.model.family].fill_of(cell.model, tokenizer)
    fingerprint = tokenizer_fingerprint(tokenizer)
    return TokenStores(cell.data, Path(cell.cache), tokenizer, fingerprint, prompts, fill)


def load_teacher(collection: Collection, source: str, cache: Path) -> Retriever:
    """Who judges passages of a collection; ``source``: BM25, a retriever's, or that of a cross-encoder.

    Raises:
        ConfigError: ``source`` cannot be loaded.
    """
    if source == BM25:
        return Bm25Retriever(collection, cache)
    if kind_of(source) == "CrossEncoder":
        return CrossEncoderRetriever(collection, source)
    return load_retriever(source)
