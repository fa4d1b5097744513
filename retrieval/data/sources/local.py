"""Collections that already are BEIR folders: ``data.path``, ``data.robust`` and ``data.ood``."""

from __future__ import annotations

from pathlib import Path

from retrieval.config import DataConfig
from retrieval.data import index
from retrieval.data.cache import digest
from retrieval.data.sources import Suite, check_roles
from retrieval.errors import ConfigError


def fingerprint(config: DataConfig, cache: Path | None = None) -> str:
    """Hash of the content of all folders and of their roles; their paths do not matter.

    Raises:
        ConfigError: as :func:`prepare`.
    """
    in_domain, robust, ood = _folders(config)
    return digest(
        {
            "source": "local",
            "in_domain": index.fingerprint(in_domain, cache),
            "robust": {name: index.fingerprint(folder, cache) for name, folder in robust.items()},
            "ood": {name: index.fingerprint(folder, cache) for name, folder in ood.items()},
        }
    )


def prepare(config: DataConfig, cache: Path) -> Suite:
    """The suite of the folders as they are; nothing is copied.

    Raises:
        ConfigError: a folder is missing, lacks the split its role needs, or has two roles.
        DataError: a folder lacks one of the files of the BEIR format.
    """
    in_domain, robust, ood = _folders(config)
    name = config.label or in_domain.name
    return Suite(name, in_domain, robust, ood, fingerprint(config, cache))


def _folders(config: DataConfig) -> tuple[Path, dict[str, Path], dict[str, Path]]:
    if not config.path:
        raise ConfigError(
            "data=local needs data.path=FOLDER in BEIR format (corpus.jsonl, queries.jsonl, qrels/)"
        )
    in_domain = _folder("data.path", config.path)
    robust = [_folder("data.robust", path) for path in config.robust]
    ood = [_folder("data.ood", path) for path in config.ood]
    check_roles([folder.name for folder in robust], [folder.name for folder in ood])
    for key, folders in (("data.robust", robust), ("data.ood", ood)):
        if in_domain in folders:
            raise ConfigError(f"{in_domain} is both data.path and in {key}; a collection has one role")
    if in_domain.name in [folder.name for folder in robust]:
        raise ConfigError(
            f"data.path and data.robust both name a folder {in_domain.name!r}; rename one of them"
        )
    _need_split("data.path", in_domain, "train", "it can serve as an OOD test domain: data.ood=[{path}]")
    _need_split("data.path", in_domain, "test", "the effectiveness is measured on it")
    for folder in robust:
        _need_split("data.robust", folder, "train", "it can serve as an OOD test domain: data.ood=[{path}]")
    for folder in ood:
        _need_split("data.ood", folder, "test", "the robustness is measured on it")
    return in_domain, {folder.name: folder for folder in robust}, {folder.name: folder for folder in ood}


def _folder(key: str, path: str) -> Path:
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        reason = "is not a folder" if folder.exists() else "does not exist"
        raise ConfigError(f"{key}={path} {reason} (looked at {folder}); give a folder in BEIR format")
    return folder


def _need_split(key: str, folder: Path, split: str, hint: str) -> None:
    splits = index.split_files(folder)
    if split not in splits:
        raise ConfigError(
            f"{key}: {folder} has no qrels/{split}.tsv (splits there: {', '.join(splits)}); "
            + hint.format(path=folder)
        )
