"""The work that all contestants do: the same texts, tokenizer, shapes and batches."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.config import ModelConfig
from retrieval.data.batches import TrainingPairs
from retrieval.data.collection import Judgements
from retrieval.data.tokens import ROLES, SPECIAL_TOKENS, TokenStore, write_store

SHAPES = {"tiny": (2, 128), "mini": (4, 256), "small": (4, 512), "medium": (8, 512), "base": (12, 768)}
QUERY_LENGTH, PASSAGE_LENGTH = 32, 128
BATCH = 64
VOCABULARY = 30_522


@dataclass(frozen=True)
class Texts:
    """Queries of about 12 and passages of about 80 tokens, one token a word."""

    queries: list[str]
    passages: list[str]


@cache
def texts(count: int) -> Texts:
    """``count`` pairs; word frequencies follow Zipf's law."""
    random = np.random.default_rng(0)
    words = np.array([f"w{number}" for number in range(VOCABULARY - 100)])
    weights = 1 / np.arange(1, len(words) + 1)
    weights /= weights.sum()

    def sentences(mean: float, spread: float, longest: int) -> list[str]:
        lengths = random.normal(mean, spread, count).clip(4, longest - 2).astype(int)
        drawn = np.split(random.choice(words, lengths.sum(), p=weights), np.cumsum(lengths)[:-1])
        return [" ".join(part) for part in drawn]

    return Texts(sentences(10, 4, QUERY_LENGTH), sentences(78, 25, PASSAGE_LENGTH))


@cache
def tokenizer() -> Any:
    """Every word is one token; BERT's vocabulary size and special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens = [*SPECIAL_TOKENS, *(f"w{number}" for number in range(VOCABULARY - len(SPECIAL_TOKENS)))]
    made = Tokenizer(models.WordLevel({token: n for n, token in enumerate(tokens)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {name: f"[{name[:-6].upper()}]" for name in ROLES}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=512, **names)


def model_config(size: str, dropout: float) -> ModelConfig:
    """A scratch encoder of the grid: mean pooling, no projection, cosine scores at scale 20."""
    layers, hidden = SHAPES[size]
    return ModelConfig(
        layers=layers, hidden=hidden, init="scratch", projection=0, temperature=0.05, dropout=dropout
    )


@cache
def training_pairs(count: int) -> TrainingPairs:
    """The pairs in token stores of a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    stores = []
    for name, part, limit in (
        ("queries", texts(count).queries, QUERY_LENGTH),
        ("passages", texts(count).passages, PASSAGE_LENGTH),
    ):
        (folder / name).mkdir()
        write_store(folder / name, iter(part), tokenizer(), limit)
        stores.append(TokenStore(folder / name))
    rows = np.arange(count, dtype=np.int64)
    judged = Judgements(rows, rows, np.ones(count, np.int32))
    return TrainingPairs("benchmark", stores[0], stores[1], pairs=judged, known=judged)
