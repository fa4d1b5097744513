"""The words of a passage: what the attack may replace, by what, and the text after it has.

Replacements come from a file of synonyms, or are neighbours among a model's word embeddings.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from retrieval.data.arrays import FloatArray
from retrieval.errors import ConfigError, DataError
from retrieval.models.scores import unit

Synonyms: TypeAlias = Callable[[str], list[str]]
"""Lower-case single words to put in the place of a word, the closest first."""

# Runs of letters that are not part of an identifier, a number or a contraction: `num_layers`, `x1` and
# "don't" stay as they are. Single letters are symbols more often than words.
_WORD = re.compile(r"(?<![\w'’])[^\W\d_]{2,}(?![\w'’])")


@dataclass(frozen=True)
class Words:
    """A text and the places of its words, in text order."""

    text: str

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """Start and end (exclusive, in characters) of every word."""
        return [match.span() for match in _WORD.finditer(self.text)]

    def __getitem__(self, index: int) -> str:
        start, end = self.spans[index]
        return self.text[start:end]

    def __len__(self) -> int:
        return len(self.spans)

    def replace(self, replacements: Mapping[int, str]) -> str:
        """The text with the words at some indexes replaced, everything else untouched."""
        parts, position = [], 0
        for index in sorted(replacements):
            start, end = self.spans[index]
            parts += [self.text[position:start], replacements[index]]
            position = end
        return "".join([*parts, self.text[position:]])


def match_case(synonym: str, word: str) -> str:
    """``synonym`` capitalised as ``word`` is: lower case, Title or UPPER."""
    if len(word) > 1 and word.isupper():
        return synonym.upper()
    return synonym[:1].upper() + synonym[1:] if word[:1].isupper() else synonym


def embedding_synonyms(words: list[str], vectors: FloatArray, count: int, min_cosine: float) -> Synonyms:
    """The words of highest cosine among a model's word embeddings; none of a word that is no single token.

    ``words``: whole words; ``vectors``: their embeddings float32[n, h]. Neighbours are at ``min_cosine``
    or above, ``count`` at most.
    """
    directions = unit(vectors)
    rows = {word: row for row, word in enumerate(words)}

    @cache
    def nearest(row: int) -> list[str]:
        cosines = directions @ directions[row]
        cosines[row] = -np.inf
        order = np.argsort(-cosines, kind="stable")[:count]
        return [words[index] for index in order if cosines[index] >= min_cosine]

    return lambda word: nearest(rows[word.lower()]) if word.lower() in rows else []


def load_synonyms(path: Path, count: int) -> Synonyms:
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
    lists = {word.lower(): _merged(path, word, entry) for word, entry in content.items()}

    def first(word: str) -> list[str]:
        key = word.lower()
        # Order is kept and repetitions (a word under two parts of speech) are dropped.
        usable = dict.fromkeys(entry.lower() for entry in lists.get(key, ()) if entry.isalpha())
        usable.pop(key, None)
        return list(usable)[:count]

    return first


def _merged(path: Path, word: str, entry: Any) -> list[str]:
    lists = list(entry.values()) if isinstance(entry, dict) else [entry]
    for part in lists:
        if not isinstance(part, list) or not all(isinstance(synonym, str) for synonym in part):
            raise DataError(
                f"{path}: the entry of {word!r} is neither a list nor part of speech -> list of words"
            )
    return [synonym for part in lists for synonym in part]
