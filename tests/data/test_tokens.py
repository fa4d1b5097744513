from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import processors

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


DRAW = """
import random
from retrieval.data.tokens import tokenizer_fingerprint, train_wordpiece
dice = random.Random(0)
letters = [chr(code) for code in range(0x3b1, 0x3c9)] + list("abcdefghijklmnopqrstuvwxyz")
texts = ["".join(dice.choices(letters + [" "] * 9, k=80)) for _ in range(300)]
for _ in "12":
    print(tokenizer_fingerprint(train_wordpiece(texts, 500)))
"""


def test_the_same_texts_give_the_same_tokenizer_in_every_process() -> None:
    printed = [
        subprocess.run([sys.executable, "-c", DRAW], capture_output=True, text=True).stdout for _ in "12"
    ]
    found = "".join(printed).split()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(found[0]) == 64


def test_the_vocabulary_is_learned_from_the_texts(tokenizer: Any) -> None:
    vocabulary = tokenizer.get_vocab()
    assert len(vocabulary) <= 120
    assert {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "quick", "brown", "jumps", "q"} <= set(vocabulary)
    assert [tokenizer.convert_ids_to_tokens(number) for number in range(2)] == ["[PAD]", "[UNK]"]
    assert "[UNK]" not in tokenizer.tokenize("the quick brown fox")
    assert not any(token.startswith("##") for token in tokenizer.all_special_tokens)


def test_the_rarest_of_too_many_characters_are_not_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.data.tokens.MOST_CHARACTERS", 3)
    vocabulary = set(train_wordpiece(["aab abb cab a b zzz", "a b", "y c"], 50).get_vocab())
    assert {"a", "b", "##b"} <= vocabulary
    assert not {"c", "y"} & vocabulary


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("prompt", ["", "quick: "])
def test_tokens_of_the_texts_themselves_are_counted(
    tmp_path: Path, tokenizer: Any, special: bool, prompt: str
) -> None:
    if not special:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    texts = ["quick fox", "\u200b", "☃ fox ☃", "", "☃"]
    counts = write_store(tmp_path, iter(texts), tokenizer, 64, prompt)
    assert counts == TokenStore(tmp_path).counts
    known = len(tokenizer.tokenize("quick fox")) + len(tokenizer.tokenize("fox"))
    assert (counts.texts, counts.empty, counts.first_empty) == (5, 2, 1)
    assert (counts.tokens, counts.unknown) == (known + 3, 3)


def test_a_tokenizer_whose_unknown_token_ends_every_text_knows_its_words(
    tmp_path: Path, tokenizer: Any
) -> None:
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.unk_token = "[SEP]"
    assert write_store(tmp_path, iter(["quick fox", "", "fox"]), tokenizer, 64).unknown == 0
