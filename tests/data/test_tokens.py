from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.data.tokens import (
    TokenStore,
    load_tokenizer,
    tokenizer_fingerprint,
    train_wordpiece,
    write_store,
)
from retrieval.errors import ConfigError

TEXTS = [f"the quick brown fox number {n} jumps over lazy dog {n * n}" for n in range(50)] + ["", "x"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_wordpiece(TEXTS, 120)


@pytest.mark.parametrize("limit", [5, 64])
def test_store_returns_what_the_tokenizer_gives(tmp_path: Path, tokenizer: Any, limit: int) -> None:
    write_store(tmp_path, iter(TEXTS), tokenizer, limit)
    store = TokenStore(tmp_path)
    rows = np.array([51, 3, 3, 50, 0])
    ids, lengths = store.gather(rows)
    parts = np.split(ids, np.cumsum(lengths)[:-1])
    expected = tokenizer([TEXTS[row] for row in rows], truncation=True, max_length=limit)["input_ids"]
    assert [part.tolist() for part in parts] == expected
    assert len(store) == len(TEXTS)
    assert isinstance(store.ids, np.memmap)
    assert store.ids.dtype == np.uint16


def test_every_text_has_its_two_special_tokens(tmp_path: Path, tokenizer: Any) -> None:
    write_store(tmp_path, iter(TEXTS), tokenizer, 64)
    ids, lengths = TokenStore(tmp_path).gather(np.array([50]))
    assert lengths.tolist() == [2]
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "[SEP]"]


def test_a_saved_tokenizer_gives_the_same_ids(tmp_path: Path, tokenizer: Any) -> None:
    tokenizer.save_pretrained(str(tmp_path))
    again = load_tokenizer(tmp_path)
    assert again(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]
    assert tokenizer_fingerprint(again) == tokenizer_fingerprint(tokenizer)
    assert (again.pad_token, again.cls_token, again.sep_token) == ("[PAD]", "[CLS]", "[SEP]")


def test_a_missing_tokenizer_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tokenizer at") as caught:
        load_tokenizer(tmp_path / "nothing")
    assert "\n" not in str(caught.value)
