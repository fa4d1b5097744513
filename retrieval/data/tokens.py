"""Tokenizers and the token store: every text is tokenised once and read from a memory map ever after."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from retrieval.config.data import DataConfig
from retrieval.data.arrays import within
from retrieval.data.cache import build_once, digest
from retrieval.data.collection import Collection
from retrieval.data.quality import ReadTexts, TokenCounter, TokenCounts, show
from retrieval.errors import ConfigError, first_line

Side: TypeAlias = Literal["queries", "passages"]

CHUNK = 4096
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROLES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
TOKENIZER_VERSION = 2
STORE_VERSION = 3

MOST_CHARACTERS = 1000
"""Characters that a trained vocabulary knows."""


def tokenizer_folder(
    texts: Callable[[], Iterable[str]], fingerprint: str, vocabulary: int, cache: Path
) -> Path:
    """Folder of the WordPiece tokenizer trained on ``texts`` (built once; lower-cased, BERT-style).

    ``fingerprint`` identifies the texts. The folder loads with :func:`load_tokenizer`.
    """
    key = digest({"texts": fingerprint, "vocabulary": vocabulary, "version": TOKENIZER_VERSION})

    def build(folder: Path) -> None:
        train_wordpiece(Texts(texts), vocabulary).save_pretrained(str(folder))

    return build_once(cache / "tokenizers" / key[:16], build, describe="training the tokenizer")


@dataclass(frozen=True)
class Texts:
    """Texts that are read anew for each pass over them."""

    read: Callable[[], Iterable[str]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.read())


def train_wordpiece(texts: Iterable[str], vocabulary: int) -> Any:
    """A lower-cased BERT-style WordPiece tokenizer of at most ``vocabulary`` tokens.

    The same texts give the same tokenizer, which the trainer of the library does not do by itself: it numbers
    the characters inside words in an order that differs from process to process, and breaks ties of frequency
    by these numbers. Here they are numbered beforehand.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    texts = list(texts) if isinstance(texts, Iterator) else texts
    normalizer, words = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    rare = _rare_characters(map(normalizer.normalize_str, texts))

    def trained(size: int, numbered: list[str]) -> dict[str, int]:
        readable = (normalizer.normalize_str(text).translate(rare) for text in texts)
        return _wordpieces(readable, words, size, [*SPECIAL_TOKENS, *numbered])

    inside = sorted(token for token in trained(0, []) if len(token) == 3 and token.startswith("##"))
    tokenizer = Tokenizer(models.WordPiece(vocab=trained(vocabulary, inside), unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, words
    tokenizer.decoder = decoders.WordPiece()
    ids = {token: tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    names = {name: f"[{name[:-6].upper()}]" for name in ROLES}
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, model_max_length=512, **names
    )


def _wordpieces(texts: Iterable[str], words: Any, size: int, numbered: list[str]) -> dict[str, int]:
    """Vocabulary learned from texts: ``numbered`` first, then characters, then merges by frequency."""
    from tokenizers import Tokenizer, models, trainers

    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.pre_tokenizer = words
    options: dict[str, Any] = {"limit_alphabet": MOST_CHARACTERS, "min_frequency": 2, "show_progress": False}
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=numbered, **options)
    learner.train_from_iterator(texts, trainer)
    found: dict[str, int] = learner.get_vocab()
    return found


def _rare_characters(texts: Iterable[str]) -> dict[int, None]:
    """Table that deletes all but the most frequent characters; among equals the first in Unicode stay."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    ordered = sorted(counts, key=lambda character: (-counts[character], character))
    return {ord(character): None for character in ordered[MOST_CHARACTERS:]}


def load_tokenizer(source: str | Path) -> Any:
    """A fast tokenizer from a folder or hub id, with a padding token.

    Where the checkpoint names none, as decoders do, the end-of-text token pads; what pads is masked anyway.

    Raises:
        ConfigError: There is no tokenizer, none that is fast, or no token that can pad.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source), use_fast=True, trust_remote_code=False)
    except Exception as error:  # a damaged file raises whatever its parser does
        raise ConfigError(
            f"no tokenizer at {source}: {first_line(error)}; put its tokenizer.json beside config.json"
        ) from error
    if not tokenizer.is_fast:
        raise ConfigError(f"the tokenizer of {source} has no fast version, which the token store needs")
    give_padding(tokenizer, str(source))
    check_words(tokenizer, str(source))
    return tokenizer


def check_words(tokenizer: Any, source: str) -> None:
    """Refuse a tokenizer that knows no word: what libraries make up where a folder has none.

    Raises:
        ConfigError: It has special tokens alone.
    """
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise ConfigError(
            f"no tokenizer at {source}: what is there knows special tokens alone; put its tokenizer.json "
            "beside config.json"
        )


def give_padding(tokenizer: Any, source: str) -> None:
    """Let a tokenizer without a padding token pad with another special token.

    Raises:
        ConfigError: It has no special token at all.
    """
    if tokenizer.pad_token is None:
        padding = tokenizer.eos_token or tokenizer.sep_token or tokenizer.unk_token or tokenizer.bos_token
        if padding is None:
            raise ConfigError(
                f"the tokenizer of {source} has no special token that could pad; add pad_token to its "
                "tokenizer_config.json"
            )
        tokenizer.pad_token = padding


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Digest of everything that changes the tokenizer's output."""
    return digest(json.loads(tokenizer.backend_tokenizer.to_str()))


class TokenStore:
    """Token ids of the texts of a collection, in row order, memory-mapped.

    ``ids``: uint16 or int32[Σ lengths]; ``offsets``: int64[n + 1].
    """

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / "store.json").read_text())
        self.folder = folder
        self.vocabulary = int(meta["vocabulary"])
        self.counts = TokenCounts(**meta["counts"])
        # A memory map of an empty file is an error, and an empty side of a collection is not.
        empty = meta["tokens"] == 0
        dtype = np.dtype(meta["dtype"])
        self.ids = np.empty(0, dtype) if empty else np.memmap(folder / "ids.bin", dtype=dtype, mode="r")
        self.offsets = np.load(folder / "offsets.npy", mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def gather(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the texts at ``rows`` (int[n]) int64[Σ lengths], and lengths int64[n]."""
        starts, lengths = self.offsets[rows], self.lengths(rows)
        return self.ids[np.repeat(starts, lengths) + within(lengths)].astype(np.int64), lengths

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Tokens of each text of ``rows``, special tokens included: int64[n]."""
        difference: np.ndarray = self.offsets[rows + 1] - self.offsets[rows]
        return difference


def tokenized(tokenizer: Any, texts: Sequence[str], max_length: int, prompt: str, **options: Any) -> Any:
    """What a tokenizer makes of texts of at most ``max_length`` tokens, ``input_ids`` among it.

    ``prompt`` stands before each text and counts. A text of no token, which only tokenizers without special
    tokens make, becomes one padding token.
    """
    encoded = _tokenized(tokenizer, texts, max_length, prompt, **options)
    for row, ids in enumerate(encoded["input_ids"]):
        if not ids:
            encoded["input_ids"][row] = [tokenizer.pad_token_id]
            if "offset_mapping" in encoded:
                encoded["offset_mapping"][row] = [(0, 0)]
    return encoded


def _tokenized(tokenizer: Any, texts: Sequence[str], max_length: int, prompt: str, **options: Any) -> Any:
    return tokenizer(
        [prompt + text for text in texts] if prompt else list(texts),
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
        return_token_type_ids=False,
        **options,
    )


@dataclass(frozen=True)
class Filled:
    """What texts are filled up with."""

    token: int
    length: int


def fill_up(encoded: list[list[int]], filled: Filled | None) -> None:
    """Append the token to all lists of ids that are shorter than its length."""
    if filled is not None:
        for ids in encoded:
            ids.extend([filled.token] * (filled.length - len(ids)))


@dataclass(frozen=True)
class TokenStores:
    """Token stores of collections under one tokenizer and the lengths of a configuration."""

    data: DataConfig
    """``max_query_length`` and ``max_passage_length`` are read."""
    cache: Path
    tokenizer: Any
    fingerprint: str
    """The tokenizer's, see :func:`tokenizer_fingerprint`."""
    prompts: tuple[str, str] = ("", "")
    """Text before each query and each passage."""
    fill: int | None = None
    """Token that fills queries up to ``max_query_length``; ``None``: they are as long as they are."""
    _opened: dict[str, TokenStore] = field(default_factory=dict)
    read: list[ReadTexts] = field(default_factory=list)
    """What was opened so far, for its warnings."""

    def length(self, side: Side) -> int:
        """Tokens of a text of ``side`` at most, special ones included."""
        return self.data.max_query_length if side == "queries" else self.data.max_passage_length

    def prompt(self, side: Side) -> str:
        """Text before each text of ``side``."""
        return self.prompts[0 if side == "queries" else 1]

    def tokenize(self, texts: Sequence[str], side: Side, **options: Any) -> Any:
        """What the tokenizer makes of texts that are in no collection, ``input_ids`` among it."""
        encoded = tokenized(self.tokenizer, texts, self.length(side), self.prompt(side), **options)
        fill_up(encoded["input_ids"], self._filled(side))
        return encoded

    def _filled(self, side: Side) -> Filled | None:
        return None if self.fill is None or side == "passages" else Filled(self.fill, self.length(side))

    def __call__(self, collection: Collection, side: Side) -> TokenStore:
        """The store of a collection's ``queries`` or ``passages``, built once per tokenizer and length.

        Memory stays flat: texts stream through in chunks.
        """
        length = self.length(side)
        prompt = self.prompt(side)
        parts = [collection.fingerprint, side, self.fingerprint, length, STORE_VERSION]
        filled = self._filled(side)
        key = digest([*parts, *([prompt] if prompt else []), *([asdict(filled)] if filled else [])])
        if key not in self._opened:

            def build(folder: Path) -> None:
                records = collection.queries() if side == "queries" else collection.passages()
                texts = (text for _, text in records)
                counts = write_store(folder, texts, self.tokenizer, length, prompt, filled)
                show(ReadTexts(collection, side, counts).findings())

            describe = f"tokenising the {side} of {collection.name}"
            folder = build_once(self.cache / "tokens" / key[:16], build, describe=describe)
            self._opened[key] = TokenStore(folder)
            self.read.append(ReadTexts(collection, side, self._opened[key].counts))
        return self._opened[key]


def write_store(
    folder: Path,
    texts: Iterator[str],
    tokenizer: Any,
    max_length: int,
    prompt: str = "",
    filled: Filled | None = None,
) -> TokenCounts:
    """Tokenise ``texts``, each after ``prompt``, into the empty ``folder`` that :class:`TokenStore` opens.

    Returns: what the tokenizer made of them; tokens that fill them up are not counted.
    """
    vocabulary = len(tokenizer)
    dtype = np.dtype(np.uint16 if vocabulary <= np.iinfo(np.uint16).max else np.int32)
    lengths: list[np.ndarray] = []
    counter = _counter(tokenizer, max_length, prompt)
    with (folder / "ids.bin").open("wb") as file:
        while chunk := list(islice(texts, CHUNK)):
            encoded = tokenized(tokenizer, chunk, max_length, prompt)["input_ids"]
            flat = _flat(encoded)
            counter.add(encoded, flat)
            if filled is not None:
                fill_up(encoded, filled)
                flat = _flat(encoded)
            lengths.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
            file.write(flat.astype(dtype).tobytes())
    counts = np.concatenate([np.zeros(1, np.int64), *lengths])
    np.save(folder / "offsets.npy", np.cumsum(counts), allow_pickle=False)
    sizes = {"vocabulary": vocabulary, "texts": len(counts) - 1, "tokens": int(counts.sum())}
    meta = {"dtype": dtype.name, **sizes, "counts": asdict(counter.counts)}
    (folder / "store.json").write_text(json.dumps(meta))
    return counter.counts


def _flat(encoded: list[list[int]]) -> np.ndarray:
    return np.fromiter(chain.from_iterable(encoded), np.int64, sum(map(len, encoded)))


def _counter(tokenizer: Any, max_length: int, prompt: str) -> TokenCounter:
    # A space at the end of a prompt is a token of its own only where no text follows.
    frame, blank = (
        _tokenized(tokenizer, [""], max_length, text)["input_ids"][0] for text in (prompt.rstrip(), prompt)
    )
    return TokenCounter(frame, blank or [tokenizer.pad_token_id], tokenizer.unk_token_id)
