"""Collections with known structure, drawn from a seed, at any size and with flat memory.

A passage is about a few *concepts*, mostly of one topic. Each concept has one word that passages
use and another that queries prefer, so that matching words alone is not enough and a dual
encoder has a mapping to learn. In the other domains a part of the concepts goes by other words,
drawn from a pool that these domains share, and topics have other frequencies: that is the domain
shift, and training on one shifted domain helps on the next.

Passages are drawn in blocks that each have their own random stream, from uniform doubles only:
passage i of a domain is the same whatever the size of the collection, the platform, or what else
is drawn.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TextIO, cast

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from retrieval.config.data import SOURCES, DataConfig, Source
from retrieval.config.knobs import knob
from retrieval.data.cache import build_once, digest
from retrieval.data.sources import Suite, references
from retrieval.data.sources.references import IN_DOMAIN
from retrieval.errors import ConfigError

VERSION = 1
SIDE_PASSAGES = 20_000
SIDE_QUERIES = 5_000

_BLOCK = 1024
_PASSAGE_CONCEPTS = 6
_PASSAGE_WORDS = (20, 40)
_QUERY_CONCEPTS = 4
_QUERY_COMMON = 2
_ON_TOPIC = 0.7
_CONCEPT_WORD = 0.5
_QUERY_FORM = 0.7
_SHIFTED = 0.5
_COMMON_SHARE = 0.3
_SPLITS = ("train",) * 7 + ("dev",) + ("test",) * 2
_SYLLABLES = [consonant + vowel for consonant in "bdfghjklmnprstvwz" for vowel in "aeiou"]


@dataclass
class SyntheticConfig(DataConfig):
    """A collection drawn with known structure from a seed, of any size."""

    name: str = "synthetic"
    passages: int = knob(
        2000, "Passages of the in-domain collection; other domains have at most 20,000.", minimum=20
    )
    queries: int = knob(
        1000,
        "Queries of the in-domain collection, 70 % train, 10 % dev, 20 % test; others have at most 5,000.",
        minimum=20,
    )
    topics: int = knob(50, "Topics of the passages.", minimum=1)
    words: int = knob(2000, "Vocabulary of the generator.", minimum=40)
    domains: int = knob(
        3,
        "Domains beside the in-domain one. Where no role is named the first is robust-training, the second "
        "of three or more robust-dev, the others OOD test.",
        minimum=0,
    )
    seed: int = knob(0, "Seed of the collection.", minimum=0)


def fingerprint(config: DataConfig, cache: Path | None = None) -> str:
    """Hash of everything the suite is drawn from.

    Raises:
        ConfigError: there are more topics than words for them, or an unknown domain is named.
    """
    settings = cast(SyntheticConfig, config)
    own = _fingerprint(settings, _roles(settings))
    return references.extended_fingerprint(own, config, cache)


def _fingerprint(config: SyntheticConfig, roles: dict[str, list[str]]) -> str:
    return digest({"drawn": _drawn_from(config), **references.without_empty_robust_dev(roles)})


def prepare(config: DataConfig, cache: Path) -> Suite:
    """Draw the suite, once, under ``cache/sources/synthetic/``.

    Raises:
        ConfigError: there are more topics than words for them, or an unknown domain is named.
    """
    settings = cast(SyntheticConfig, config)
    roles = _roles(settings)

    def build(folder: Path) -> None:
        for number in range(settings.domains + 1):
            _Domain.of(settings, number).write(folder)

    folder = build_once(
        cache / "sources" / "synthetic" / digest(_drawn_from(settings))[:32],
        build,
        describe=f"synthetic suite of {settings.passages} passages",
    )
    return references.own_suite(config, cache, folder, roles, _fingerprint(settings, roles))


def _drawn_from(config: SyntheticConfig) -> dict[str, int]:
    keys = ("passages", "queries", "topics", "words", "domains", "seed")
    return {"version": VERSION, **{key: int(getattr(config, key)) for key in keys}}


def _roles(config: SyntheticConfig) -> dict[str, list[str]]:
    if config.topics > _concepts(config):
        raise ConfigError(
            f"data.topics={config.topics} needs more words than data.words={config.words}; "
            f"at most {_concepts(config)} topics fit, or raise data.words"
        )
    names = [_domain_name(number) for number in range(1, config.domains + 1)]
    roles = references.own_domains(config, names)
    if not (config.robust or config.robust_dev or config.ood) and len(names) >= 3:
        roles["robust_dev"] = [names[1]]
    for role in ("robust", "ood"):
        if not getattr(config, role):
            taken = {name for named in roles.values() for name in named}
            free = [name for name in names if name not in taken]
            roles[role] = free[:1] if role == "robust" else free
    return roles


def _domain_name(number: int) -> str:
    return f"domain-{number}" if number else IN_DOMAIN


def _concepts(config: SyntheticConfig) -> int:
    """Concepts that fit the vocabulary: each has four words (passage or query, plain or shifted)."""
    return int(config.words * (1 - _COMMON_SHARE)) // 4


@cache
def _word(index: int) -> str:
    """A pronounceable word of three syllables or more, distinct for each index."""
    base = len(_SYLLABLES)
    # Multiplying by a number without common factor with base³ scatters neighbours over the alphabet.
    number = index if index >= base**3 else (index * 104_729 + 51_407) % base**3
    syllables: list[str] = []
    while number or len(syllables) < 3:
        number, place = divmod(number, base)
        syllables.append(_SYLLABLES[place])
    return "".join(syllables)


def _zipf(count: int) -> NDArray[np.float64]:
    """Cumulative Zipf distribution over ranks 1..count (float64[count], last value 1)."""
    weights = np.cumsum(1.0 / np.arange(1, count + 1))
    cumulative: NDArray[np.float64] = weights / weights[-1]
    return cumulative


def _draw(cumulative: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indexes drawn by inversion, shaped as ``uniform``; only exact comparisons of doubles."""
    return np.minimum(np.searchsorted(cumulative, uniform, side="right"), len(cumulative) - 1)


@dataclass(frozen=True)
class _Domain:
    """One domain: its sizes, and which word each concept has in it."""

    number: int
    seed: int
    passages: int
    queries: int
    concepts: int
    common: int
    topic_of_rank: NDArray[np.int64]
    """``[topics]``, most frequent topic first."""
    shifted: NDArray[np.bool_]
    """``[concepts]``, whether the concept goes by its other words here."""

    @classmethod
    def of(cls, config: SyntheticConfig, number: int) -> _Domain:
        """The domain of a number; 0 is the in-domain collection."""
        concepts = _concepts(config)
        stream = np.random.default_rng([config.seed, number])
        return cls(
            number=number,
            seed=config.seed,
            passages=config.passages if number == 0 else min(config.passages, SIDE_PASSAGES),
            queries=config.queries if number == 0 else min(config.queries, SIDE_QUERIES),
            concepts=concepts,
            common=config.words - 4 * concepts,
            topic_of_rank=np.argsort(stream.random(config.topics), kind="stable"),
            shifted=(stream.random(concepts) < _SHIFTED) & (number > 0),
        )

    def write(self, suite: Path) -> None:
        """Write the domain as a BEIR folder under ``suite``."""
        folder = suite / _domain_name(self.number)
        (folder / "qrels").mkdir(parents=True)
        with ExitStack() as stack:

            def opened(name: str) -> TextIO:
                return stack.enter_context((folder / name).open("w", encoding="utf-8", newline="\n"))

            corpus, queries = opened("corpus.jsonl"), opened("queries.jsonl")
            qrels = {split: opened(f"qrels/{split}.tsv") for split in ("train", "dev", "test")}
            bar = stack.enter_context(
                tqdm(total=self.passages, delay=2, leave=False, desc=f"drawing {folder.name}")
            )
            for file in qrels.values():
                file.write("query-id\tcorpus-id\tscore\n")
            for start in range(0, self.passages, _BLOCK):
                stop = min(start + _BLOCK, self.passages)
                concepts = self._write_passages(corpus, start, stop)
                self._write_queries(queries, qrels, start, stop, concepts)
                bar.update(stop - start)

    def _stream(self, block: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.number, block, purpose])

    def _write_passages(self, corpus: TextIO, start: int, stop: int) -> NDArray[np.int64]:
        """Write a block of passages; return their concepts (int64[_BLOCK, _PASSAGE_CONCEPTS])."""
        stream = self._stream(start // _BLOCK, 0)
        concepts = self._passage_concepts(stream)
        shortest, longest = _PASSAGE_WORDS
        lengths = shortest + (stream.random(_BLOCK) * (longest - shortest + 1)).astype(np.int64)
        picked = (stream.random((_BLOCK, longest)) * _PASSAGE_CONCEPTS).astype(np.int64)
        about = self._concept_words(np.take_along_axis(concepts, picked, axis=1), 0)
        common = _draw(_zipf(self.common), stream.random((_BLOCK, longest)))
        words = np.where(stream.random((_BLOCK, longest)) < _CONCEPT_WORD, about, common)
        for row in range(stop - start):
            text = " ".join(map(_word, words[row, : lengths[row]].tolist()))
            corpus.write(json.dumps({"_id": f"p{start + row}", "title": "", "text": text}) + "\n")
        return concepts

    def _passage_concepts(self, stream: np.random.Generator) -> NDArray[np.int64]:
        topics = len(self.topic_of_rank)
        shape = (_BLOCK, _PASSAGE_CONCEPTS)
        topic = self.topic_of_rank[_draw(_zipf(topics), stream.random(_BLOCK))]
        # Concept c belongs to topic c mod topics.
        sizes = (self.concepts - 1 - topic) // topics + 1
        own = topic[:, None] + topics * (stream.random(shape) * sizes[:, None]).astype(np.int64)
        other = (stream.random(shape) * self.concepts).astype(np.int64)
        return np.where(stream.random(shape) < _ON_TOPIC, own, other)

    def _concept_words(
        self, concepts: NDArray[np.int64], query_form: NDArray[np.bool_] | int
    ) -> NDArray[np.int64]:
        """Index of the word by which each concept goes in this domain."""
        form = query_form + 2 * self.shifted[concepts]
        return self.common + form * self.concepts + concepts

    def _write_queries(
        self, file: TextIO, qrels: dict[str, TextIO], start: int, stop: int, concepts: NDArray[np.int64]
    ) -> None:
        stream = self._stream(start // _BLOCK, 1)
        for query, passage in self._asked(start, stop):
            picked = np.argsort(stream.random(_PASSAGE_CONCEPTS), kind="stable")[:_QUERY_CONCEPTS]
            form = stream.random(_QUERY_CONCEPTS) < _QUERY_FORM
            about = self._concept_words(concepts[passage - start, picked], form)
            common = _draw(_zipf(self.common), stream.random(_QUERY_COMMON))
            words = np.concatenate([common, about])
            text = " ".join(map(_word, words[np.argsort(stream.random(len(words)), kind="stable")].tolist()))
            file.write(json.dumps({"_id": f"q{query}", "text": text}) + "\n")
            # Queries of one passage share its split, so no passage is relevant in two splits.
            rank = query if self.queries <= self.passages else passage
            qrels[_SPLITS[rank % len(_SPLITS)]].write(f"q{query}\tp{passage}\t1\n")

    def _asked(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Queries are spread evenly over the passages: query j asks for passage ⌊j·P/Q⌋."""
        first = -(-start * self.queries // self.passages)
        for query in range(first, self.queries):
            passage = query * self.passages // self.queries
            if passage >= stop:
                return
            yield query, passage


SOURCES.register("synthetic", Source(SyntheticConfig, fingerprint, prepare))
