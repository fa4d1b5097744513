"""What a study is: a file of ``conf/study/``, read and checked."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from retrieval.errors import ConfigError
from sweeps.launch.compose import CONF
from sweeps.launch.need import ACCELERATORS

STUDIES = CONF / "study"
"""The studies of this project."""

PLACES = ("runs", "out", "records", "table", "tables", "steer", "collections")
"""Words that stand in braces for a folder or file: ``{runs}``, ``{records}`` …"""

STAGE_KEYS = frozenset({"name", "overrides", "stand_in", "keeps", "command", "makes"})
SCALE_KEYS = frozenset({"about", "device", "folders", "stages"})
STUDY_KEYS = frozenset({"title", "question", "registered", "page", "scales", "analyses"})
ANALYSIS_KEYS = frozenset({"command", "scales"})


@dataclass(frozen=True)
class Stage:
    """One sweep, or one command that makes a file which a later sweep reads."""

    name: str
    overrides: Sequence[str] = ()
    """Of ``train.py -m``; empty where the stage is a command."""
    stand_in: Sequence[str] = ()
    """Overrides in place of those of the same keys, for the plan, while their file is missing."""
    keeps: Sequence[str] = ()
    """Keys that overrides from the command line do not change."""
    command: Sequence[str] = ()
    """Words of ``python -m sweeps``."""
    makes: str | None = None
    """The file that the command writes. It is made once: what it steers must not change it."""


@dataclass(frozen=True)
class Scale:
    """How large a study is run."""

    name: str
    about: str
    stages: Sequence[Stage]
    device: str | None = None
    """The accelerator that the plan assumes; ``None``: this machine."""
    folders: Sequence[str] = ()
    """Collections that must lie in the folder of ``--collections``."""

    def only(self, wanted: Sequence[str]) -> Scale:
        """This scale with the stages ``wanted``, in its own order; ``()``: all of them.

        Raises ConfigError, one line: there is no stage of such a name.
        """
        known = [stage.name for stage in self.stages]
        for name in wanted:
            if name not in known:
                raise ConfigError(
                    f"--stage {name}: scale {self.name} has no such stage; valid: {', '.join(known)}"
                )
        return replace(self, stages=[each for each in self.stages if not wanted or each.name in wanted])


@dataclass(frozen=True)
class Analysis:
    """A command of ``python -m sweeps`` that reads the table."""

    name: str
    command: str
    """Its words as in a shell, with placeholders."""
    scales: Sequence[str] = ()
    """Scales whose runs are enough for it; empty: all."""

    @property
    def words(self) -> list[str]:
        """The words of the command, placeholders included."""
        return shlex.split(self.command)

    def records(self, written: bool) -> list[str]:
        """The words that name a record: those that the command writes (``--out``), or those that it reads."""
        pairs = pairwise(["", *self.words])
        return [word for option, word in pairs if "{records}" in word and (option == "--out") is written]


@dataclass(frozen=True)
class Study:
    """A question and how it is answered."""

    name: str
    title: str
    question: str
    scales: Mapping[str, Scale]
    """Empty for a table whose runs were made in another way."""
    analyses: Sequence[Analysis]
    registered: str | None = None
    """The page that was written before the runs."""
    page: Sequence[str] = ()
    """Conditions ``COLUMN=VALUE,…`` on the runs that the page shows; empty: all."""

    def scale(self, name: str) -> Scale:
        """The scale of that name; raise ConfigError, one line, where there is none."""
        if name not in self.scales:
            known = ", ".join(self.scales) or "none: it reads a table alone, give --table"
            raise ConfigError(f"--scale {name}: study {self.name} has no such scale; valid: {known}")
        return self.scales[name]

    def analyses_at(self, scale: str | None) -> list[Analysis]:
        """The commands that the runs of a scale are enough for; of ``None`` all."""
        return [each for each in self.analyses if scale is None or not each.scales or scale in each.scales]


def names(folder: Path = STUDIES) -> list[str]:
    """The studies that there are."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load(name: str, folder: Path = STUDIES) -> Study:
    """Read a study.

    Raises ConfigError, one line: there is no such study, or its file is not what docs/study.md describes.
    """
    known = names(folder)
    if name not in known:
        raise ConfigError(f"study {name} does not exist; choose among {', '.join(known)}")
    path = folder / f"{name}.yaml"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not YAML ({' '.join(str(error).split())})") from error
    try:
        return _study(name, data)
    except _WrongError as wrong:
        raise ConfigError(f"{path}: {wrong}; see docs/study.md") from None


class _WrongError(Exception):
    """What is wrong in a file, and where."""


def _study(name: str, data: Any) -> Study:
    found = _mapping(data, "the file", STUDY_KEYS, ("title", "question", "analyses"))
    scales = {
        str(key): _scale(str(key), value)
        for key, value in _mapping(found.get("scales") or {}, "scales").items()
    }
    analyses = [
        _analysis(str(key), value, scales) for key, value in _mapping(found["analyses"], "analyses").items()
    ]
    registered = found.get("registered")
    question = " ".join(_text(found["question"], "question").split())
    page = _texts(found.get("page") or [], "page")
    study = Study(name, _text(found["title"], "title"), question, scales, analyses, registered, page)
    for scale in scales or [None]:
        _apart(study.analyses_at(scale))
    return study


def _scale(name: str, data: Any) -> Scale:
    where = f"scales.{name}"
    found = _mapping(data, where, SCALE_KEYS, ("about", "stages"))
    stages = found["stages"]
    if not isinstance(stages, list) or not stages:
        raise _WrongError(f"{where}.stages is no list of stages")
    device = found.get("device")
    if device is not None and device not in ACCELERATORS:
        raise _WrongError(f"{where}.device {device} is not known; valid: {', '.join(ACCELERATORS)}")
    read = [_stage(f"{where}.stages[{number}]", stage) for number, stage in enumerate(stages)]
    twice = [stage.name for number, stage in enumerate(read) if stage.name in {s.name for s in read[:number]}]
    if twice:
        raise _WrongError(f"{where} has two stages called {twice[0]}")
    return Scale(
        name,
        _text(found["about"], f"{where}.about"),
        read,
        device,
        _texts(found.get("folders") or [], f"{where}.folders"),
    )


def _stage(where: str, data: Any) -> Stage:
    found = _mapping(data, where, STAGE_KEYS, ("name",))
    trains, runs = "overrides" in found, {"command", "makes"} <= set(found)
    if trains == runs or (trains and "command" in found):
        raise _WrongError(f"{where} needs either overrides, or command and makes")
    lists = {
        key: _texts(found.get(key) or [], f"{where}.{key}") for key in ("overrides", "stand_in", "keeps")
    }
    command = shlex.split(_line(found["command"], f"{where}.command")) if runs else []
    _places([*lists["overrides"], *command], where)
    return Stage(_text(found["name"], f"{where}.name"), command=command, makes=found.get("makes"), **lists)


def _analysis(name: str, data: Any, scales: Mapping[str, Scale]) -> Analysis:
    where = f"analyses.{name}"
    found = (
        {"command": data}
        if isinstance(data, str | list)
        else _mapping(data, where, ANALYSIS_KEYS, ("command",))
    )
    for_scales = _texts(found.get("scales") or [], f"{where}.scales")
    unknown = [scale for scale in for_scales if scale not in scales]
    if unknown:
        raise _WrongError(f"{where}: scale {unknown[0]} does not exist")
    analysis = Analysis(name, _line(found["command"], where), for_scales)
    _places(analysis.words, where)
    return analysis


def _apart(analyses: Sequence[Analysis]) -> None:
    """Analyses of a scale run at once: none may read or write what another writes."""
    owners: dict[str, str] = {}
    for one in analyses:
        for word in one.records(written=False):
            raise _WrongError(f"analyses.{one.name} reads {word}: an analysis reads the table alone")
        for word in one.records(written=True):
            if owners.setdefault(word, one.name) != one.name:
                raise _WrongError(f"analyses.{one.name} and analyses.{owners[word]} both write {word}")


def _places(words: Sequence[str], where: str) -> None:
    for place in (place for word in words for place in re.findall(r"(?<!\$)\{(\w+)\}", word)):
        if place not in PLACES:
            raise _WrongError(f"{where}: {{{place}}} stands for nothing; valid: {', '.join(PLACES)}")


def _mapping(
    data: Any, where: str, known: frozenset[str] | None = None, needed: Sequence[str] = ()
) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _WrongError(f"{where} is no mapping")
    unknown = sorted(set(data) - known) if known is not None else []
    if unknown:
        raise _WrongError(
            f"{where} has the unknown key {unknown[0]}; valid: {', '.join(sorted(known or ()))}"
        )
    missing = [key for key in needed if key not in data]
    if missing:
        raise _WrongError(f"{where} lacks {missing[0]}")
    return data


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _WrongError(f"{where} is no text")
    return value


def _line(value: Any, where: str) -> str:
    """A command in one line: a text, or a list of texts, of which an alias of YAML may be one."""
    parts = _texts(value, where) if isinstance(value, list) else [value]
    return _text(" ".join(word for part in parts for word in _text(part, where).split()), where)


def _texts(value: Any, where: str) -> list[str]:
    """A list of texts; a list within it, such as an alias of YAML, stands for what it holds."""
    if isinstance(value, list):
        value = list(_flat(value))
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _WrongError(f"{where} is no list of texts")
    return list(value)


def _flat(items: list[Any]) -> Iterator[Any]:
    for item in items:
        yield from _flat(item) if isinstance(item, list) else [item]
