"""Group ``data``: what all sources of collections share; each source has its own keys beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from retrieval.config.beir_sets import BASE_URL
from retrieval.config.knobs import knob
from retrieval.config.registry import Registry


@dataclass
class HubDataset:
    """A Hugging Face dataset and the columns that make it a collection; see docs/data.md."""

    dataset: str = knob(MISSING, "Hub id, or a local folder or file (JSON lines, CSV, Parquet).")
    subset: str | None = knob(None, "The dataset's configuration, where it has several.")
    revision: str = knob("main", "Branch, tag or commit; pin a commit where results are reported.")
    query: str = knob("query", "Column of the query's text.")
    passage: str = knob("passage", "Column of the passage's text, or of a list of passages.")
    title: str | None = knob(None, "Column of the passage's title.")
    query_id: str | None = knob(
        None, "Column of the query's id; null: queries with the same text are one query."
    )
    passage_id: str | None = knob(
        None, "Column of the passage's id; null: passages with the same title and text are one passage."
    )
    score: str | None = knob(
        None, "Column of whole numbers, relevant from 1 on; null: every row is a relevant pair."
    )
    train: str | None = knob(
        "train", "Training split as datasets writes it, train[:90%] included; null: there is none."
    )
    dev: str | None = knob(None, "Dev split; null: there is none.")
    test: str | None = knob("test", "Test split; null: there is none.")


@dataclass(frozen=True)
class Source:
    """Where collections come from. Its module registers it: ``SOURCES.register("name", Source(…))``."""

    schema: type[DataConfig]
    """Its keys of ``data``: those of all sources, and its own."""
    fingerprint: Callable[[Any, Path | None], str]
    """(data, cache) -> hash of the content; see :func:`retrieval.data.sources.fingerprint`."""
    prepare: Callable[[Any, Path], Any]
    """(data, cache) -> suite; see :func:`retrieval.data.sources.prepare`."""
    reference: Callable[[Any, str, str], Any] | None = None
    """(data, NAME, key) -> the collection that a role names as ``SOURCE/NAME``."""
    label: Callable[[Any], str | None] = lambda data: None
    """Data -> their name in run names and results; of ``None`` it is the source's."""
    options: Mapping[str, DataConfig] = field(default_factory=dict)
    """Options of group ``data`` beside the files in ``conf/data``."""


SOURCES: Registry[Source] = Registry("data.name", "retrieval.data.sources")
"""Every source by its name."""

ROLES = ("robust", "robust_dev", "ood")
"""Keys of ``data`` that name the domains of a role; a domain is in one of them."""


@dataclass
class DataConfig:
    """A suite: the in-domain collection, robust-training, robust-dev and OOD test domains.

    Domains are the source's own, or references to other collections: ``beir/NAME``, ``hub/NAME`` of
    ``hub``, or a folder in BEIR format.
    """

    name: str = knob(MISSING, "Source; data=NAME sets it.", choices=SOURCES.names)
    frac: float = knob(
        1.0,
        "Share of the in-domain training pairs that a run may use (nested in the seed).",
        above=0,
        maximum=1,
    )
    path: str | None = knob(None, "Folder of the in-domain collection of data=local, in BEIR format.")
    label: str | None = knob(
        None, "Name used in run names; null: the source's name, or the folder's of data=local."
    )
    default_init: str = knob("scratch", "Default of model.init.")
    default_pretrained: str | None = knob(None, "Default of model.pretrained.")
    robust: list[str] = knob(
        [], "Robust-training domains: their training split is used, never their test split."
    )
    robust_dev: list[str] = knob(
        [],
        "Robust-dev domains: never trained on, never in the test mean: they stand in for the unknown. What "
        "steers training is measured on their dev split, or their test split where there is none.",
    )
    ood: list[str] = knob([], "OOD test domains: only their test split is used.")
    vocabulary: int = knob(
        16384,
        "Size of the WordPiece vocabulary trained on the collection with model.init=scratch.",
        minimum=100,
    )
    max_query_length: int = knob(32, "Tokens of a query that are read.", minimum=3, maximum=512)
    max_passage_length: int = knob(48, "Tokens of a passage that are read.", minimum=3, maximum=512)
    overlap: str = knob(
        "refuse",
        "Passages relevant in both training and test: an error, or their training pairs are left out.",
        choices=("refuse", "drop"),
    )
    hub: dict[str, HubDataset] = knob(
        {}, "Hugging Face datasets by the NAME under which a role may name them, as hub/NAME."
    )
    beir_url: str = knob(BASE_URL, "Where the archives of BEIR are: a mirror, or file:///FOLDER.")


def bert_checkpoint(layers: int, hidden: int) -> str:
    """Hub id of the pretrained BERT of a size: the 24 of arXiv 1908.08962, and BERT large."""
    if (layers, hidden) == (24, 1024):
        return "google-bert/bert-large-uncased"
    return f"google/bert_uncased_L-{layers}_H-{hidden}_A-{max(1, hidden // 64)}"


OmegaConf.register_new_resolver("bert_checkpoint", bert_checkpoint, replace=True)
