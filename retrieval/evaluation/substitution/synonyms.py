"""Where replacements come from: a file of synonyms, or neighbours among a model's word embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from retrieval.data.arrays import FloatArray
from retrieval.errors import ConfigError, DataError


class Synonyms(Protocol):
    """A source of replacements."""

    def of(self, word: str) -> list[str]:
        """Lower-case single words to put in the place of ``word``, the closest first."""
        ...


class ListedSynonyms:
    """Synonyms of a file; see :func:`load_synonyms`."""

    def __init__(self, lists: dict[str, list[str]], count: int) -> None:
        self._lists = lists
        self._count = count

    def of(self, word: str) -> list[str]:
        """The first synonyms in the order of the file."""
        key = word.lower()
        # Order is kept and repetitions (a word under two parts of speech) are dropped.
        usable = dict.fromkeys(entry.lower() for entry in self._lists.get(key, ()) if entry.isalpha())
        usable.pop(key, None)
        return list(usable)[: self._count]


class EmbeddingSynonyms:
    """The words of highest cosine among a model's word embeddings."""

    def __init__(self, words: list[str], vectors: FloatArray, count: int, min_cosine: float) -> None:
        """Whole words and their embeddings float32 ``[n, h]``; neighbours are at ``min_cosine`` or above."""
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        self._unit = vectors / np.maximum(norms, np.finfo(np.float32).tiny)
        self._words = words
        self._rows = {word: row for row, word in enumerate(words)}
        self._count = count
        self._least = min_cosine
        self._known: dict[str, list[str]] = {}

    def of(self, word: str) -> list[str]:
        """The nearest words; none for a word that is no single token of the model."""
        key = word.lower()
        if key not in self._known:
            self._known[key] = self._neighbours(self._rows[key]) if key in self._rows else []
        return self._known[key]

    def _neighbours(self, row: int) -> list[str]:
        cosines = self._unit @ self._unit[row]
        cosines[row] = -np.inf
        order = np.argsort(-cosines, kind="stable")[: self._count]
        return [self._words[index] for index in order if cosines[index] >= self._least]


def load_synonyms(path: Path, count: int) -> ListedSynonyms:
    """Read a JSON object: word -> list of synonyms, or word -> part of speech -> list.

    Parts of speech are merged in the order of the file: passages are not tagged. Synonyms that are not a
    single word of letters are left out. ``count``: synonyms given for a word at most.

    Raises:
        ConfigError: The file cannot be read.
        DataError: It is not JSON or an entry has another form; the message names file and place.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); set attack.synonyms") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: a JSON object word -> synonyms is needed, not {type(content).__name__}")
    return ListedSynonyms(
        {word.lower(): _merged(path, word, entry) for word, entry in content.items()}, count
    )


def _merged(path: Path, word: str, entry: Any) -> list[str]:
    lists = list(entry.values()) if isinstance(entry, dict) else [entry]
    for part in lists:
        if not isinstance(part, list) or not all(isinstance(synonym, str) for synonym in part):
            raise DataError(
                f"{path}: the entry of {word!r} is neither a list nor part of speech -> list of words"
            )
    return [synonym for part in lists for synonym in part]
