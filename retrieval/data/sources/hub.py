"""Hugging Face datasets: ``data=hub data.dataset=…``, and ``hub/NAME`` of ``data.hub`` in a role.

A row is a query and a passage (or a list of passages) that answers it; which column is which stands in
:class:`~retrieval.config.data.HubDataset`. Code of a dataset is never run. Rows are read twice, streamed from
the dataset's memory map: once for hashes, once to write each query and passage where it first occurs.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from retrieval.config.data import SOURCES, DataConfig, HubDataset
from retrieval.data.cache import digest
from retrieval.data.sources import references
from retrieval.data.sources.pairs import write_collection
from retrieval.errors import ConfigError, DownloadError, first_line, root_cause
from retrieval.run.identity import content_hash

VERSION = 1
SPLITS = ("train", "dev", "test")
BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
TABLE_SUFFIXES = (".csv", ".tsv")
TABLES: dict[str, Any] = {"keep_default_na": False, "na_values": [""]}
"""How tables are read: ``NA``, ``null`` or ``None`` in a cell is a text, and only an empty cell is none."""
_KEYS = tuple(HubDataset.__dataclass_fields__)


@dataclass
class HubConfig(HubDataset, DataConfig):
    """A Hugging Face dataset as the in-domain collection: ``data=hub data.dataset=…``."""

    name: str = "hub"


@dataclass(frozen=True)
class Dataset(references.Reference):
    """A reference to a dataset."""

    kind = "hub"
    settings: HubDataset
    key: str
    """Where its settings stand in the configuration."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the settings name."""
        return tuple(split for split in SPLITS if getattr(self.settings, split))

    def fingerprint(self, cache: Path | None) -> str:
        """Hash of the settings; of a local file or folder its content, of a hub id name and revision."""
        settings = asdict(self.settings)
        settings["dataset"] = content_hash(self.settings.dataset)
        if settings["dataset"] != self.settings.dataset:
            settings["revision"] = None
        # Other formats keep the fingerprints that they had.
        reading = TABLES if Path(self.settings.dataset).suffix in TABLE_SUFFIXES else {}
        return digest({"hub": settings, "version": VERSION, **reading})

    def build(self, folder: Path, cache: Path) -> None:
        """Write the rows of the splits."""
        parts = {split: self._load(str(getattr(self.settings, split)), cache) for split in self.splits}
        write_collection(parts, self.settings, str(self), folder)

    def _load(self, split: str, cache: Path) -> Any:
        import datasets
        import huggingface_hub

        settings, path = self.settings, Path(self.settings.dataset).expanduser()
        arguments: dict[str, Any] = {"path": settings.dataset, "revision": settings.revision}
        if path.is_file():
            if path.suffix not in BUILDERS:
                raise ConfigError(f"{self.key}.dataset={path}: no known format; valid: {', '.join(BUILDERS)}")
            if not path.stat().st_size:
                raise ConfigError(f"{self.key}.dataset={path}: the file is empty; it needs at least one row")
            separator = {"sep": "\t"} if path.suffix == ".tsv" else {}
            table = {**TABLES, **separator} if path.suffix in TABLE_SUFFIXES else {}
            arguments = {"path": BUILDERS[path.suffix], "data_files": str(path), **table}
        elif path.is_dir():
            arguments = {"path": str(path)}
        if path.exists():
            arguments["cache_dir"] = str(cache / "datasets")
        datasets.disable_progress_bars()
        # It would tell every try to reach the hub; the last one is in the message.
        huggingface_hub.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        try:
            return datasets.load_dataset(**arguments, name=settings.subset, split=split)
        except Exception as error:  # its own, its HTTP client's, or those of the storage behind the hub
            raise self._refusal(split, error) from error

    def _refusal(self, split: str, error: Exception) -> ConfigError | DownloadError:
        name = self.settings.dataset
        if Path(name).expanduser().exists() or isinstance(error, ValueError):
            # The library's own line says that there was an error.
            reason = first_line(root_cause(error))
            return ConfigError(f"{self.key}.dataset={name}, split {split!r}: {reason}")
        if "scripts are no longer supported" in str(error):
            return ConfigError(
                f"{self.key}.dataset={name} is made by a script, and none is run; name another dataset, or "
                "download its files where they are Parquet, CSV or JSON and name the folder"
            )
        revision = self.settings.revision
        return DownloadError(
            f"cannot load the dataset {name} ({first_line(error)}): if it is gated or private, run `hf auth "
            "login`; else download it where there is a network "
            f"(hf download {name} --repo-type dataset --revision {revision} --local-dir FOLDER), bring the "
            f"folder here and set {self.key}.dataset=FOLDER"
        )


def reference(config: DataConfig, name: str, key: str) -> Dataset:
    """The dataset ``data.hub.<name>``.

    Raises:
        ConfigError: ``data.hub`` has no such entry, or it names no dataset.
    """
    if name not in config.hub:
        known = ", ".join(f"hub/{other}" for other in config.hub) or "none"
        raise ConfigError(
            f"{key}: hub/{name} is not defined (known: {known}); add '+data.hub.{name}={{dataset: ID, query: "
            "COLUMN, passage: COLUMN}'"
        )
    return Dataset(name, _settings(config.hub[name], f"data.hub.{name}"), f"data.hub.{name}")


def _in_domain(config: DataConfig) -> Dataset:
    settings = _settings(cast(Any, config), "data")
    return Dataset(Path(settings.dataset).stem, settings, "data")


def _settings(node: Any, key: str) -> HubDataset:
    values = {name: (node.get(name) if hasattr(node, "get") else getattr(node, name)) for name in _KEYS}
    if not values["dataset"] or values["dataset"] == "???":
        raise ConfigError(
            f"{key}.dataset is not set; give a Hugging Face dataset id, a local folder or a file"
        )
    return HubDataset(**values)


SOURCES.register(
    "hub",
    references.referenced_source(
        HubConfig,
        "data",
        _in_domain,
        reference=reference,
        label=lambda config: Path(config.dataset).stem,
    ),
)
