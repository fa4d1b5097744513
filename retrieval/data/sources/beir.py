"""The public sets of BEIR: ``data=beir/NAME``, and ``beir/NAME`` in a role.

The archive is downloaded once into ``cache/downloads/beir/`` and checked against its published checksum; what
a run needs of it is unpacked into a BEIR folder. The loader of the package ``beir`` is not used for that: its
download neither resumes nor checks, and it holds the whole corpus as Python objects. Its records and these
are the same.
"""

import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from omegaconf import MISSING

from retrieval.config.beir_sets import BEIR_SETS, BeirSet
from retrieval.config.data import SOURCES, DataConfig
from retrieval.config.knobs import knob
from retrieval.config.unknown import suggestion
from retrieval.data import index, records
from retrieval.data.cache import digest
from retrieval.data.sources import download, references
from retrieval.errors import ConfigError, DataError

VERSION = 1


@dataclass
class BeirConfig(DataConfig):
    """A public set of BEIR: ``data=beir/NAME``."""

    name: str = "beir"
    collection: str = knob(MISSING, "Name of the set; data=beir/NAME sets it.")


@dataclass(frozen=True)
class PublicSet(references.Reference):
    """A reference to a public set."""

    kind = "beir"
    row: BeirSet
    url: str
    """Where the archives are."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The evaluated split is called ``test``, whatever its name in the archive."""
        others = (split for split in self.row.splits if split != self.row.evaluated)
        return (*others, "test")

    def fingerprint(self, cache: Path | None) -> str:
        """Hash of the archive's checksum and of the rules of unpacking."""
        rules = [self.row.splits, self.row.evaluated, self.row.drop_identical, self.row.folder]
        return digest({"beir": self.row.name, "md5": self.row.md5, "rules": rules, "version": VERSION})

    def build(self, folder: Path, cache: Path) -> None:
        """Unpack what a run needs of the archive, downloaded if it is not there yet."""
        url = f"{self.url.rstrip('/')}/{self.row.file}"
        place = (cache / "downloads" / "beir" / self.row.file).resolve()
        unpack(download.fetch(url, place, self.row.md5, self.row.megabytes), self.row, folder)


def reference(config: DataConfig, name: str, key: str) -> PublicSet:
    """The set ``name``, from where ``data.beir_url`` says.

    Raises:
        ConfigError: BEIR has no public set of this name.
    """
    if name not in BEIR_SETS:
        hint = suggestion(name, list(BEIR_SETS))
        raise ConfigError(f"{key}: beir/{name} is not known{hint}; valid: {', '.join(BEIR_SETS)}")
    return PublicSet(name, BEIR_SETS[name], config.beir_url)


def unpack(archive: Path, row: BeirSet, folder: Path) -> None:
    """Write a set of an archive as a BEIR folder.

    Left out, and counted in ``collection.json``, are queries without text and judgements of queries or
    passages that the set does not hold: published sets have some (five of ArguAna's relevant passages are
    not in its corpus).

    Raises:
        DataError: the archive is no zip file or lacks a file of the set.
    """
    (folder / "qrels").mkdir(parents=True)
    inside = row.folder or row.name
    try:
        with zipfile.ZipFile(archive) as opened:
            for name in (index.CORPUS, index.QUERIES, *(f"qrels/{split}.tsv" for split in row.splits)):
                with opened.open(f"{inside}/{name}") as source, (folder / name).open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{archive}: {error.args[0]}; remove it to download it again") from error
    if row.evaluated != "test":
        (folder / "qrels" / f"{row.evaluated}.tsv").rename(folder / "qrels" / "test.tsv")
    dropped = _drop_unusable(folder)
    about = {"drop_identical": row.drop_identical, "dropped": dict(sorted(dropped.items()))}
    (folder / index.ABOUT).write_text(json.dumps(about), encoding="utf-8")


def _drop_unusable(folder: Path) -> Counter[str]:
    """Take out what no run can use; memory grows with the judgements, not with the corpus."""
    dropped = _drop_empty_queries(folder / index.QUERIES)
    files = sorted((folder / "qrels").glob("*.tsv"))
    judged = {path: list(records.read_qrels(path)) for path in files}
    missing = {passage for lines in judged.values() for _, _, passage, _ in lines}
    missing.difference_update(_ids(folder / index.CORPUS))
    unasked = {query for lines in judged.values() for _, query, _, _ in lines}
    unasked.difference_update(_ids(folder / index.QUERIES))
    for path, lines in judged.items():
        usable = [row for row in lines if row[1] not in unasked and row[2] not in missing]
        if len(usable) == len(lines):
            continue
        dropped[f"{path.stem}/unknown_id"] = len(lines) - len(usable)
        body = "".join(f"{query}\t{passage}\t{score}\n" for _, query, passage, score in usable)
        path.write_text("\t".join(records.QRELS_HEADER) + "\n" + body, encoding="utf-8")
    return dropped


def _drop_empty_queries(path: Path) -> Counter[str]:
    dropped: Counter[str] = Counter()
    kept = path.with_suffix(".kept")
    with path.open("rb") as source, kept.open("wb") as target:
        for raw in source:
            if str(json.loads(raw).get("text") or "").strip():
                target.write(raw)
            else:
                dropped["queries/empty"] += 1
    kept.replace(path)
    return dropped


def _ids(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for raw in file:
            yield json.loads(raw)["_id"]


SOURCES.register(
    "beir",
    references.referenced_source(
        BeirConfig,
        "data",
        lambda config: reference(config, cast(BeirConfig, config).collection, "data"),
        reference=reference,
        options={f"beir/{name}": BeirConfig(collection=name, label=name) for name in BEIR_SETS},
    ),
)
