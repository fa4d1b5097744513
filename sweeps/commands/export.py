"""``python -m sweeps export``: the trained encoder of a run, to use or to share without this project."""

import shutil
from pathlib import Path
from typing import Annotated, cast

import typer

from sweeps.commands import options as shared


def run(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", metavar="RUN")],
    out: Annotated[Path, shared.folder("--out", "Folder to write; new or empty.")],
) -> None:
    """Copy the encoder of RUN as a sentence-transformers folder: SentenceTransformer(DIR) loads it."""
    from omegaconf import DictConfig, OmegaConf

    from retrieval.config import ModelConfig
    from retrieval.config.model import FAMILIES
    from retrieval.errors import ConfigError
    from retrieval.models.checkpoint import VECTORS, name_own_base
    from retrieval.run.directory import RunDirectory, stored_config
    from retrieval.run.files import write_text

    directory = RunDirectory(run)
    if not directory.path.is_dir():
        raise ConfigError(f"{run}: no such run directory; give one of the folders below runs/")
    if not (directory.model / "modules.json").is_file():
        raise ConfigError(f"{run} holds no trained encoder: the run is not finished; start it again first")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out} exists already; name a new or an empty folder")
    out.mkdir(parents=True, exist_ok=True)
    shutil.copytree(directory.model, out, dirs_exist_ok=True)
    name_own_base(out)
    write_text(out / "paretrieve-run.yaml", directory.config.read_text(encoding="utf-8"))
    family = OmegaConf.select(
        cast(DictConfig, stored_config(run)), "model.family", default=ModelConfig.family
    )
    reader = FAMILIES[family].kind or VECTORS
    typer.echo(f"wrote {out}: {reader}({str(out)!r}) loads it; its run is in paretrieve-run.yaml")
