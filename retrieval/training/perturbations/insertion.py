"""``insertion``: passages hold queries that they do not answer, so that the model learns to discount them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrieval.training.perturbation import Rewriting

if TYPE_CHECKING:
    import numpy as np

    from retrieval.data.batches import RankingBlock
    from retrieval.training.rewriting import Frame


class Insertion(Rewriting):
    """Puts a query of the batch into each passage that is not relevant to it.

    The passage of one query gets another query's text, each text once; a mined negative gets that of its own
    query. So the query finds its words in negatives. Half of the insertions stand in front, the others at the
    beginning of a random word. A passage that grows beyond the longest of the batch loses its end.
    """

    name = "insertion"
    strength = "inserted"

    def rewrite(
        self, sequences: list[list[int]], block: RankingBlock, generator: np.random.Generator
    ) -> None:
        """Passages grow."""
        from retrieval.training.rewriting import Frame

        queries, passages = (
            [Frame.of(ids, self.spelling.special) for ids in sequences[side]]
            for side in (block.queries, block.passages)
        )
        longest = max(map(len, sequences[block.passages]))
        owners = inserted_queries(block, len(queries), len(passages), generator)
        for place, (passage, query) in enumerate(zip(passages, owners, strict=True)):
            if query >= 0:
                own = self._inserted(queries[query].body, generator)
                body = self._with(passage, own, generator)
                sequences[block.passages.start + place] = passage.around(body, longest)

    def _inserted(self, query: list[int], generator: np.random.Generator) -> list[int]:
        if self.config.inserted == "query":
            return query
        from retrieval.evaluation.variation import stop_words

        words = [word for word in self.spelling.words(query) if word.text.lower() not in stop_words()]
        order = generator.permutation(len(words))
        return [token for place in order for token in query[words[place].first : words[place].stop]]

    def _with(self, passage: Frame, inserted: list[int], generator: np.random.Generator) -> list[int]:
        body = passage.body
        starts = [word.first for word in self.spelling.words(body)]
        front = not starts or generator.random() < 0.5
        place = 0 if front else starts[int(generator.integers(len(starts)))]
        return [*body[:place], *inserted, *body[place:]]


def inserted_queries(
    block: RankingBlock, queries: int, passages: int, generator: np.random.Generator
) -> list[int]:
    """The query whose text each passage of a block gets; −1 where it is relevant to that query.

    Positives get those of the queries a drawn number of places on, so that each is used once.
    """
    excluded = block.excluded.cpu().numpy()
    shift = int(generator.integers(1, queries)) if queries > 1 else 0
    mined = (passages - queries) // queries
    owners = [(place + shift) % queries for place in range(queries)]
    owners += [place // mined for place in range(passages - queries)]
    relevant = excluded[owners, range(passages)]
    own = [place < queries and owners[place] == place for place in range(passages)]
    return [
        -1 if bad or same else owner for owner, bad, same in zip(owners, relevant.tolist(), own, strict=True)
    ]
