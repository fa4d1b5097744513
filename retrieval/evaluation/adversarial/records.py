"""What attacks made, as it is saved, so that the same texts can be measured on any other run."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from retrieval.config.attack import FIRST
from retrieval.errors import DataError
from retrieval.run.files import write_text


@dataclass(frozen=True)
class Edit:
    """A replaced word or other stretch of a text; with an empty ``old``, one that is put in."""

    start: int
    """Where ``old`` starts in the original text, in characters."""
    old: str
    new: str


@dataclass(frozen=True)
class Moment:
    """A passage on its way up: at its start, after an edit, or where its attack ended."""

    words: int
    """Units of the attack's budget spent so far: words changed, characters changed, sentences put in."""
    queries: int
    """Texts that the model has been asked for so far, for this passage."""
    score: float
    rank: int
    """Among the candidates that the attack compares with, 1 = best."""
    start: int | None = None
    """Where the edit just made starts in the original text, in characters; ``None`` at both ends."""


@dataclass(frozen=True)
class Attacked:
    """A passage that was attacked for a query; the texts are equal where no replacement was kept."""

    query_id: str
    passage_id: str
    rank_before: int
    """Rank among the query's candidates, 1 = best; ties count against the attacker."""
    rank_after: int
    similarity: float | None
    """Cosine of the vectors of the two texts; ``None`` where nothing judges it."""
    words: tuple[Edit, ...]
    """In text order."""
    old_text: str
    new_text: str
    trace: tuple[Moment, ...] | None = None
    """Its way in the order in which it was edited, from the start to the end. ``None`` where nobody recorded
    it: in replays, which have the last text alone, and in files of earlier versions."""
    attack: str = FIRST

    @property
    def key(self) -> tuple[str, ...]:
        """What no other record of a file has."""
        return self.attack, self.query_id, self.passage_id


@dataclass(frozen=True)
class Inserted:
    """A passage that an attack put into the corpus; it belongs to no query, and has no original."""

    attack: str
    passage_id: str
    """Its name, which is no passage's of the corpus."""
    start_text: str
    """The text that the search started from: as many words, chosen at random."""
    new_text: str
    seen_queries: int
    """Queries that the attacker saw and made this passage for."""
    asked: int
    """Texts that the model was asked for, for this passage."""

    @property
    def key(self) -> tuple[str, ...]:
        """What no other record of a file has."""
        return self.attack, self.passage_id


Record: TypeAlias = Attacked | Inserted


def save_attacked(attacked: Sequence[Record], path: Path) -> None:
    """Write one JSON object a line, with the fields that are not ``None``; ``attack`` where it isn't wsra."""
    kept = (_fields(entry) for entry in attacked)
    lines = (json.dumps(each, ensure_ascii=False, allow_nan=False) for each in kept)
    write_text(path, "".join(line + "\n" for line in lines))


def _fields(entry: Record) -> dict[str, Any]:
    values = {name: value for name, value in asdict(entry).items() if value is not None}
    if values["attack"] == FIRST:
        del values["attack"]  # as in files of earlier versions
    return values


def load_attacked(path: Path) -> list[Record]:
    """Read what :func:`save_attacked` wrote.

    Raises:
        DataError: A line is malformed, or its new text is not its old text with the words replaced; a
            passage is attacked twice for one query; there is none at all.
    """
    attacked: list[Record] = []
    seen: dict[tuple[str, ...], int] = {}
    try:
        # Not splitlines(): a text may hold separators that only JSON's own line ends are not.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        entry = _parse(line, f"{path}:{number}")
        if entry.key in seen:
            owner = f" of query {entry.query_id!r}" if isinstance(entry, Attacked) else ""
            raise DataError(
                f"{path}:{number}: passage {entry.passage_id!r}{owner} stands in line {seen[entry.key]}"
            )
        seen[entry.key] = number
        attacked.append(entry)
    if not attacked:
        raise DataError(f"{path}: no attacked passages")
    return attacked


def _parse(line: str, where: str) -> Record:
    try:
        value: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg})") from error
    try:
        entry = _inserted(value) if "start_text" in value else _attacked(value)
    except KeyError as error:
        raise DataError(f"{where}: {error} is missing; is this an attack.jsonl?") from error
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: not an attacked passage ({error})") from error
    if isinstance(entry, Attacked) and edited(entry.old_text, entry.words) != entry.new_text:
        raise DataError(f"{where}: new_text is not old_text with the listed words replaced")
    return entry


def _inserted(value: Any) -> Inserted:
    return Inserted(
        attack=_name(value["attack"]),
        passage_id=str(value["passage_id"]),
        start_text=str(value["start_text"]),
        new_text=str(value["new_text"]),
        seen_queries=int(value["seen_queries"]),
        asked=int(value["asked"]),
    )


def _attacked(value: Any) -> Attacked:
    words = tuple(Edit(int(w["start"]), str(w["old"]), str(w["new"])) for w in value["words"])
    return Attacked(
        query_id=str(value["query_id"]),
        passage_id=str(value["passage_id"]),
        rank_before=int(value["rank_before"]),
        rank_after=int(value["rank_after"]),
        similarity=None if value.get("similarity") is None else float(value["similarity"]),
        words=words,
        old_text=str(value["old_text"]),
        new_text=str(value["new_text"]),
        trace=None if "trace" not in value else tuple(Moment(**each) for each in value["trace"]),
        attack=_name(value.get("attack", FIRST)),
    )


def _name(value: Any) -> str:
    """The name of an attack, which becomes part of keys."""
    if not isinstance(value, str) or not re.fullmatch(r"[\w.+-]{1,60}", value):
        raise ValueError(f"attack: {value!r} is no name")
    return value


def edited(text: str, edits: Sequence[Edit]) -> str | None:
    """A text with some edits made; ``None`` where an ``old`` does not stand at its place."""
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        end = edit.start + len(edit.old)
        if edit.start < 0 or text[edit.start : end] != edit.old:
            return None
        text = text[: edit.start] + edit.new + text[end:]
    return text
