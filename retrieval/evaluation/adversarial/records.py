"""Attacked passages as they are saved, so that the same ones can be measured on any other run."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
    """Words changed so far."""
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


def save_attacked(attacked: list[Attacked], path: Path) -> None:
    """Write one JSON object a line, with the fields of :class:`Attacked` that are not ``None``."""
    objects = (asdict(entry) for entry in attacked)
    kept = ({name: value for name, value in each.items() if value is not None} for each in objects)
    lines = (json.dumps(each, ensure_ascii=False, allow_nan=False) for each in kept)
    write_text(path, "".join(line + "\n" for line in lines))


def load_attacked(path: Path) -> list[Attacked]:
    """Read what :func:`save_attacked` wrote.

    Raises:
        DataError: A line is malformed, or its new text is not its old text with the words replaced; a
            passage is attacked twice for one query; there is none at all.
    """
    attacked: list[Attacked] = []
    seen: dict[tuple[str, str], int] = {}
    try:
        # Not splitlines(): a text may hold separators that only JSON's own line ends are not.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        entry = _parse(line, f"{path}:{number}")
        key = (entry.query_id, entry.passage_id)
        if key in seen:
            raise DataError(
                f"{path}:{number}: passage {key[1]!r} of query {key[0]!r} stands in line {seen[key]}"
            )
        seen[key] = number
        attacked.append(entry)
    if not attacked:
        raise DataError(f"{path}: no attacked passages")
    return attacked


def _parse(line: str, where: str) -> Attacked:
    try:
        value: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg})") from error
    try:
        words = tuple(Edit(int(w["start"]), str(w["old"]), str(w["new"])) for w in value["words"])
        entry = Attacked(
            query_id=str(value["query_id"]),
            passage_id=str(value["passage_id"]),
            rank_before=int(value["rank_before"]),
            rank_after=int(value["rank_after"]),
            similarity=None if value.get("similarity") is None else float(value["similarity"]),
            words=words,
            old_text=str(value["old_text"]),
            new_text=str(value["new_text"]),
            trace=None if "trace" not in value else tuple(Moment(**each) for each in value["trace"]),
        )
    except KeyError as error:
        raise DataError(f"{where}: {error} is missing; is this an attack.jsonl?") from error
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: not an attacked passage ({error})") from error
    if edited(entry.old_text, entry.words) != entry.new_text:
        raise DataError(f"{where}: new_text is not old_text with the listed words replaced")
    return entry


def edited(text: str, edits: Sequence[Edit]) -> str | None:
    """A text with some edits made; ``None`` where an ``old`` does not stand at its place."""
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        end = edit.start + len(edit.old)
        if edit.start < 0 or text[edit.start : end] != edit.old:
            return None
        text = text[: edit.start] + edit.new + text[end:]
    return text
