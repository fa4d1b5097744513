"""Where a study reads and writes, and how its words name these places."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import ConfigError
from sweeps.study.spec import Scale, Stage, Study

SAFE = re.compile(r"[\w./+@%~-]+")
"""Folder names that Hydra reads as they are."""

TABLE = "runs.csv"
"""The table, in the folder of results."""

STEER = "steer"
"""Folder of results with copies of the files that steered stages: runs are known by their content."""


@dataclass(frozen=True)
class Places:
    """Folders and files of one study at one scale."""

    runs: Path
    """Run directories."""
    out: Path
    """Page, figures, tables."""
    table: Path
    """The table of runs, a CSV file."""
    collections: Path | None = None
    """Folder of the BEIR folders that some studies read."""

    @property
    def steer(self) -> Path:
        """Folder of the files that steer later stages; beside the runs that they were made from."""
        return self.runs / ".study"

    @property
    def records(self) -> Path:
        """Folder of what the analyses write: the report reads it, and writes elsewhere."""
        return self.out / "records"

    @property
    def named(self) -> dict[str, Path]:
        """The places by the words that stand for them."""
        found = {"table": self.table, "tables": self.table.parent, "records": self.records, "out": self.out}
        found |= {"steer": self.steer, "runs": self.runs}
        return found if self.collections is None else found | {"collections": self.collections}

    def fill(self, word: str) -> str:
        """``word`` with every placeholder replaced."""
        for name, path in self.named.items():
            word = word.replace(f"{{{name}}}", str(path))
        return word

    def check(self, study: Study, scale: Scale) -> None:
        """Raise ConfigError, one line, where a folder is missing or Hydra would misread its name."""
        needs = ", ".join(scale.folders)
        if scale.folders and self.collections is None:
            raise ConfigError(
                f"study {study.name} at scale {scale.name} needs --collections DIR, a folder that holds "
                f"these collections in BEIR format: {needs}"
            )
        for path in filter(None, (self.runs, self.out, self.collections)):
            if not SAFE.fullmatch(str(path)):
                raise ConfigError(
                    f"folder {path}: a sweep would misread a name with other characters than letters, digits "
                    "and ./_+@%~-; choose another"
                )
        for name in scale.folders:
            assert self.collections is not None
            if not (self.collections / name / "corpus.jsonl").is_file():
                raise ConfigError(
                    f"--collections {self.collections}: there is no {name}/corpus.jsonl; needed are the BEIR "
                    f"folders {needs}"
                )

    def overrides(self, stage: Stage, extra: Sequence[str] = (), planned: bool = False) -> list[str]:
        """The words of ``train.py -m`` for a stage.

        ``extra``: overrides from the command line, which replace the stage's own of the same key;
        ``planned``: whether the words are for a plan, where a stand-in takes the place of a missing file.
        """
        own = [self.fill(word) for word in stage.overrides]
        if planned and self.waits_for(stage):
            own = _replaced([word for word in own if str(self.steer) not in word], stage.stand_in)
        reaching = [word for word in extra if _key(word) not in stage.keeps]
        return [*_replaced(own, reaching), f"runs={self.runs}"]

    def waits_for(self, stage: Stage) -> list[Path]:
        """The files of earlier stages that a stage reads and that are not there yet."""
        values = [self.fill(word).partition("=")[2] for word in stage.overrides if "{steer}" in word]
        return [Path(value) for value in values if not Path(value).exists()]

    def made(self, stage: Stage) -> Path:
        """The file that a command's stage makes."""
        assert stage.makes is not None
        return Path(self.fill(stage.makes))


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _replaced(words: Sequence[str], others: Sequence[str]) -> list[str]:
    """``words`` and ``others``, without those of ``words`` whose key ``others`` set."""
    keys = {_key(word) for word in others}
    return [*(word for word in words if _key(word) not in keys), *others]
