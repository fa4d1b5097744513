"""The part of the schema that names collections: one dataclass a source, and what they share."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING, OmegaConf

from retrieval.config.beir_sets import BASE_URL


@dataclass
class HubDataset:
    """A Hugging Face dataset and the columns that make it a collection; see docs/data.md."""

    dataset: str = MISSING
    """Hub id, or a local folder or file (JSON lines, CSV, Parquet)."""
    subset: str | None = None
    """The dataset's configuration, where it has several."""
    revision: str = "main"
    """Branch, tag or commit; pin a commit where results are reported."""
    query: str = "query"
    """Column of the query's text."""
    passage: str = "passage"
    """Column of the passage's text, or of a list of passages."""
    title: str | None = None
    """Column of the passage's title."""
    query_id: str | None = None
    """Column of the query's id; without, queries with the same text are one query."""
    passage_id: str | None = None
    """Column of the passage's id; without, passages with the same title and text are one passage."""
    score: str | None = None
    """Column of whole numbers, relevant from 1 on; without, every row is a relevant pair."""
    train: str | None = "train"
    """Splits as ``datasets`` writes them, ``train[:90%]`` included; ``null`` where there is none."""
    dev: str | None = None
    test: str | None = "test"


ROLES = ("robust", "robust_dev", "ood")
"""Keys of ``data`` that name the domains of a role; a domain is in one of them."""


@dataclass
class DataConfig:
    """A suite: the in-domain collection, robust-training, robust-dev and OOD test domains.

    Domains are the source's own, or references to other collections: ``beir/NAME``, ``hub/NAME`` of
    ``hub``, or a folder in BEIR format.
    """

    name: str = MISSING
    frac: float = 1.0
    """Share of the in-domain training pairs that a run may use (nested in the seed)."""
    path: str | None = None
    label: str | None = None
    """Name used in run names; ``None`` means the source's name, or the folder's for ``local``."""
    default_init: str = "scratch"
    default_pretrained: str | None = None
    robust: list[str] = field(default_factory=list)
    """Robust-training domains (their training split is used, never their test split)."""
    robust_dev: list[str] = field(default_factory=list)
    """Robust-dev domains: dev only, never trained on, never in the test mean: they stand in for the unknown;
    what steers training is measured on them (on their dev split, or their test split where there is none)."""
    ood: list[str] = field(default_factory=list)
    """OOD test domains (only their test split is used)."""
    vocabulary: int = 16384
    """Size of the WordPiece vocabulary trained on the collection with ``model.init=scratch``."""
    max_query_length: int = 32
    max_passage_length: int = 48
    overlap: str = "refuse"
    """Passages relevant in both training and test: ``refuse``, or ``drop`` the training pairs."""
    hub: dict[str, HubDataset] = field(default_factory=dict)
    """Hugging Face datasets that ``robust``, ``robust_dev`` and ``ood`` may name as ``hub/NAME``."""
    beir_url: str = BASE_URL
    """Where the archives of BEIR are: a mirror, or ``file:///FOLDER``."""


@dataclass
class PydocsConfig(DataConfig):
    """Documentation strings of the installed packages: text every machine already has."""

    name: str = "pydocs"
    domains: dict[str, list[str]] = field(default_factory=dict)
    """Domain -> packages. ``in-domain`` is the training collection; others are named above."""
    test_queries: int = 1500
    """Test queries held out per test domain (fewer where the domain is smaller)."""
    dev_queries: int = 500
    """Dev queries held out in-domain and of each robust-training domain, and taken of each robust-dev domain
    (fewer where it is smaller)."""


@dataclass
class LocalConfig(DataConfig):
    """A folder in BEIR format (``data.path``); the other roles are lists of folders."""

    name: str = "local"


@dataclass
class SyntheticConfig(DataConfig):
    """A collection drawn with known structure from a seed, of any size."""

    name: str = "synthetic"
    passages: int = 2000
    queries: int = 1000
    topics: int = 50
    words: int = 2000
    """Vocabulary of the generator."""
    domains: int = 3
    """Domains beside the in-domain one. Where no role is named the first is robust-training, the second of
    three or more robust-dev, the others OOD test."""
    seed: int = 0


@dataclass
class BeirConfig(DataConfig):
    """A public set of BEIR: ``data=beir/NAME``."""

    name: str = "beir"
    collection: str = MISSING
    """Name of the set; ``retrieval/config/beir_sets.py`` lists them."""


@dataclass
class HubConfig(HubDataset, DataConfig):
    """A Hugging Face dataset as the in-domain collection: ``data=hub data.dataset=…``."""

    name: str = "hub"


SCHEMAS: dict[str, type[DataConfig]] = {
    "pydocs": PydocsConfig,
    "local": LocalConfig,
    "synthetic": SyntheticConfig,
    "beir": BeirConfig,
    "hub": HubConfig,
}
"""Source -> its schema."""


def bert_checkpoint(layers: int, hidden: int) -> str:
    """Hub id of the pretrained BERT of a size: the 24 of arXiv 1908.08962, and BERT large."""
    if (layers, hidden) == (24, 1024):
        return "google-bert/bert-large-uncased"
    return f"google/bert_uncased_L-{layers}_H-{hidden}_A-{max(1, hidden // 64)}"


OmegaConf.register_new_resolver("bert_checkpoint", bert_checkpoint, replace=True)
