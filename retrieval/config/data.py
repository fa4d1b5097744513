"""The part of the schema that names collections: one dataclass a source, and what they share."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING, OmegaConf

from retrieval.config.beir_sets import BASE_URL
from retrieval.config.knobs import knob


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


ROLES = ("robust", "robust_dev", "ood")
"""Keys of ``data`` that name the domains of a role; a domain is in one of them."""


@dataclass
class DataConfig:
    """A suite: the in-domain collection, robust-training, robust-dev and OOD test domains.

    Domains are the source's own, or references to other collections: ``beir/NAME``, ``hub/NAME`` of
    ``hub``, or a folder in BEIR format.
    """

    name: str = knob(MISSING, "Source; data=NAME sets it.", choices=lambda: tuple(SCHEMAS))
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


@dataclass
class PydocsConfig(DataConfig):
    """Documentation strings of the installed packages: text every machine already has."""

    name: str = "pydocs"
    domains: dict[str, list[str]] = knob(
        {}, "Domain -> packages. in-domain is the training collection; the roles name the others."
    )
    test_queries: int = knob(
        1500, "Test queries held out in-domain, and taken of each OOD domain; fewer where it is smaller."
    )
    dev_queries: int = knob(
        500,
        "Dev queries held out in-domain and of each robust-training domain, and taken of each robust-dev "
        "domain; fewer where it is smaller.",
    )


@dataclass
class LocalConfig(DataConfig):
    """A folder in BEIR format (``data.path``); the other roles are lists of folders."""

    name: str = "local"


@dataclass
class SyntheticConfig(DataConfig):
    """A collection drawn with known structure from a seed, of any size."""

    name: str = "synthetic"
    passages: int = knob(2000, "Passages of the in-domain collection; other domains have at most 20,000.")
    queries: int = knob(
        1000,
        "Queries of the in-domain collection, 70 % train, 10 % dev, 20 % test; others have at most 5,000.",
    )
    topics: int = knob(50, "Topics of the passages.")
    words: int = knob(2000, "Vocabulary of the generator.")
    domains: int = knob(
        3,
        "Domains beside the in-domain one. Where no role is named the first is robust-training, the second "
        "of three or more robust-dev, the others OOD test.",
    )
    seed: int = knob(0, "Seed of the collection.")


@dataclass
class BeirConfig(DataConfig):
    """A public set of BEIR: ``data=beir/NAME``."""

    name: str = "beir"
    collection: str = knob(MISSING, "Name of the set; data=beir/NAME sets it.")


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
