from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retrieval.data.arrays import within


@given(st.lists(st.integers(0, 9), max_size=20))
def test_every_segment_is_counted_from_zero(counts: list[int]) -> None:
    expected = [place for count in counts for place in range(count)]
    assert within(np.array(counts, dtype=np.int64)).tolist() == expected
