"""``typo``: typing errors in queries, passages or both, so that the model learns to stand them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrieval.training.perturbation import Rewriting

if TYPE_CHECKING:
    import numpy as np

    from retrieval.data.batches import RankingBlock


class Typo(Rewriting):
    """One typing error in each of a share ``rate`` of the words, one word of a text at least.

    Errors and words are those of the variation of that name, of ASCII letters. With ``side=queries`` this is
    the augmentation of Zhuang and Zuccon (2021, arXiv 2108.12139), who mistype training queries.
    """

    name = "typo"
    strength = "rate"

    def rewrite(
        self, sequences: list[list[int]], block: RankingBlock, generator: np.random.Generator
    ) -> None:
        """Words give way to others, of as many tokens as they take."""
        sides = {"queries": [block.queries], "passages": [block.passages]}
        for span in sides.get(self.config.side, [block.queries, block.passages]):
            sequences[span] = self._mistyped(sequences[span], generator)

    def _mistyped(self, sequences: list[list[int]], generator: np.random.Generator) -> list[list[int]]:
        from retrieval.evaluation.draws import allowed
        from retrieval.evaluation.variations.typo import SHORTEST, character_edits
        from retrieval.training.rewriting import Frame

        frames = [Frame.of(ids, self.spelling.special) for ids in sequences]
        chosen, errors = [], []
        for frame in frames:
            words = [word for word in self.spelling.words(frame.body) if len(word.text) >= SHORTEST]
            count = allowed(self.config.rate, len(words))
            places = sorted(generator.choice(len(words), count, replace=False)) if count else []
            chosen.append([words[place] for place in places])
            for word in chosen[-1]:
                kinds = list(character_edits(word.text).values())
                edits = kinds[generator.integers(len(kinds))]
                errors.append(edits[generator.integers(len(edits))])
        written = iter(self.spelling.ids(errors))
        longest = max(map(len, sequences))
        found = []
        for frame, own in zip(frames, chosen, strict=True):
            body, position = list[int](), 0
            for word in own:
                body += [*frame.body[position : word.first], *next(written)]
                position = word.stop
            found.append(frame.around([*body, *frame.body[position:]], longest))
        return found
