"""Pieces put into passages one after the other, the best one first, while the rank or the score improves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from retrieval.evaluation.adversarial.attack import Scene
from retrieval.evaluation.adversarial.records import Edit, edited
from retrieval.evaluation.draws import Draws
from retrieval.evaluation.stitching.options import ParagraphOptions
from retrieval.evaluation.stitching.pieces import content_words, inserted, pieces_for, places, sentences
from retrieval.evaluation.substitution.greedy import Choices, Climb, Greedy, Start
from retrieval.search.retriever import Attackable

_STRANGERS = 50
"""Passages of the pool, chosen at random, whose sentences are the control."""

Placed = Mapping[int, Sequence[str]]
"""Place in the original text -> the pieces that are put in there, in their order."""


def search(
    scene: Scene, options: ParagraphOptions, seed: int, least: float, surrogate: Attackable | None
) -> tuple[list[tuple[Edit, ...]], int]:
    """What is put into each target, and how many texts the model was asked for.

    ``least``: cosine of an accepted text; ``surrogate``: orders the pieces in place of the attacked model,
    which is then asked for one text a step. Fills the ways of the targets and the controls: as many sentences
    of passages chosen at random, at the same places.
    """
    pieces = _pieces(scene, options)
    if surrogate is not None:
        pieces = _ordered(scene, pieces, options.position, surrogate)
    climbs = [
        PieceClimb(
            Start.of(scene, number), text, options, own, places(text, options.position), surrogate is None
        )
        for number, (text, own) in enumerate(zip(scene.texts, pieces, strict=True))
    ]
    Greedy(scene.model, scene.similarity, least, options.accept).run(climbs, progress=scene.progress)
    scene.traces.extend((*own.trace, own.moment()) for own in climbs)
    scene.controls.extend(_controls(scene, climbs, options, seed))
    return [edits_of(own.original, own.placed) for own in climbs], sum(own.queries for own in climbs)


def edits_of(text: str, placed: Placed) -> tuple[Edit, ...]:
    """What is put into a text, one edit a place, in text order."""
    return tuple(Edit(place, "", inserted(text, place, placed[place])) for place in sorted(placed))


def stitched(text: str, placed: Placed) -> str:
    """A text with pieces put in."""
    found = edited(text, edits_of(text, placed))
    assert found is not None
    return found


@dataclass
class PieceClimb(Climb):
    """A passage that pieces are put into."""

    original: str
    options: ParagraphOptions
    pieces: list[str]
    """In the order in which they are tried, where they are tried one by one."""
    places: list[int]
    together: bool
    """Whether a step tries all pieces that are left, or the next one alone."""
    placed: dict[int, list[str]] = field(default_factory=dict)
    left: list[str] = field(init=False)
    ready: bool = True
    """Whether there may be another edit: all that is left is tried again after an edit only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.left = [*self.pieces]

    @property
    def spent(self) -> int:
        """Pieces put in."""
        return sum(map(len, self.placed.values()))

    @property
    def words(self) -> int:
        """Words put in."""
        return sum(len(piece.split()) for own in self.placed.values() for piece in own)

    def ended(self) -> bool:
        """See :class:`Climb`."""
        return self.spent >= self.options.sentences or not self.left or not self.ready

    def text(self) -> str:
        """See :class:`Climb`."""
        return stitched(self.original, self.placed)

    def choices(self) -> Choices:
        """Each piece, at each place, that keeps within the budget of words."""
        tried = self.left if self.together else [self.left.pop(0)]
        self.ready = not self.together
        return [
            ((place, piece), stitched(self.original, self._with(place, piece)))
            for piece in tried
            if self.words + len(piece.split()) <= self.options.words
            for place in self.places
        ]

    def take(self, choice: tuple[int, str]) -> int:
        """See :class:`Climb`."""
        place, piece = choice
        self.placed = self._with(place, piece)
        self.left = [each for each in self.left if each != piece]
        self.ready = True
        return place

    def _with(self, place: int, piece: str) -> dict[int, list[str]]:
        return {**self.placed, place: [*self.placed.get(place, []), piece]}


def _pieces(scene: Scene, options: ParagraphOptions) -> list[list[str]]:
    """The pieces of each target: sentences about its query, or words of it, that do not stand in it."""
    queries, pool = scene.queries.queries(), scene.queries
    if options.unit == "word":
        words = {target.query: content_words(queries[target.query]) for target in scene.targets}
        held = [set(content_words(text)) for text in scene.texts]
        return [
            [word for word in words[target.query] if word not in own]
            for target, own in zip(scene.targets, held, strict=True)
        ]
    of_query: dict[int, list[str]] = {}
    for target in scene.targets:
        if target.query not in of_query:
            columns = scene.ranking.columns[target.query][: options.donors]
            donors = pool.collection.passage_texts(pool.passage_rows[columns[columns >= 0]])
            of_query[target.query] = pieces_for(
                queries[target.query], donors, options.candidates, options.sentence_words
            )
    return [
        [piece for piece in of_query[target.query] if piece not in text]
        for target, text in zip(scene.targets, scene.texts, strict=True)
    ]


def _ordered(scene: Scene, pieces: list[list[str]], position: str, surrogate: Attackable) -> list[list[str]]:
    """The pieces of each target by the surrogate's score of the passage with that piece alone."""
    rows = surrogate.encode_texts(scene.queries.queries(), "queries")
    texts = [
        stitched(text, {places(text, position)[0]: [piece]})
        for text, own in zip(scene.texts, pieces, strict=True)
        for piece in own
    ]
    if not texts:
        return pieces
    owners = np.repeat([target.query for target in scene.targets], list(map(len, pieces)))
    scores = surrogate.scores.pairs(rows[owners], surrogate.encode_texts(texts, "passages"))
    bounds = np.cumsum([0, *map(len, pieces)])
    return [
        [own[at] for at in np.argsort(-scores[a:b], kind="stable")]
        for own, a, b in zip(pieces, bounds, bounds[1:])
    ]


def _controls(
    scene: Scene, climbs: Sequence[PieceClimb], options: ParagraphOptions, seed: int
) -> list[tuple[Edit, ...]]:
    pool = scene.queries
    draws = Draws("strangers", pool.fingerprint, seed)
    rows = pool.passage_rows[draws.some(len(pool.passage_rows), _STRANGERS)]
    texts = pool.collection.passage_texts(rows)
    word = options.unit == "word"
    strange = [
        each
        for text in texts
        for each in (content_words(text) if word else sentences(text, options.sentence_words))
    ]
    if not strange:
        return []
    found = []
    for own in climbs:
        draws = Draws("control", own.original, seed)
        placed = {place: [draws.one(strange) for _ in pieces] for place, pieces in own.placed.items()}
        found.append(edits_of(own.original, placed))
    return found
