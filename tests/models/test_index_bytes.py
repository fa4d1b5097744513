"""How large an index of encoded passages is."""

import numpy as np

from retrieval.models.families.multi_vector import HostMaxSim
from retrieval.models.scores import INDEX_BYTES, INNER_PRODUCTS


def test_a_vector_takes_four_bytes_a_number() -> None:
    statistics = INNER_PRODUCTS.statistics()
    statistics.take(np.ones((3, 5), np.float32), 0)
    statistics.take(np.ones((2, 5), np.float32), 3)
    assert statistics.metrics(np.ones((1, 5), np.float32)) == {INDEX_BYTES: 4 * 5 * 5}


def test_tokens_that_count_in_no_passage_take_none() -> None:
    rows = np.zeros((2, 4, 3 + 2), np.float32)
    rows[0, :3, -1] = rows[1, :1, -1] = 1  # three tokens and one count in a passage, ...
    rows[..., -2] = 1  # ... all of them in a query
    statistics = HostMaxSim(None).statistics()  # type: ignore[arg-type]
    statistics.take(rows, 0)
    assert statistics.metrics(rows)[INDEX_BYTES] == 4 * 4 * 3
