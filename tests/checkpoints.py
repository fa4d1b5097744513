"""Tiny random checkpoints of many architectures, as transformers and sentence-transformers save them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers as t
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as library

from retrieval.data.tokens import train_wordpiece

KNOWN = ["the lists of a module are sorted", "dogs", "", "sorting keeps the order of equal items " * 4]
TEXTS = [*KNOWN, "the ☃ of ☃ dogs"]
"""The last one has words that no tokenizer here knows."""

SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDE = {**SMALL, "intermediate_size": 64}

ARCHITECTURES: dict[str, Callable[..., Any]] = {
    "bert": lambda **own: t.BertConfig(**WIDE, **own),
    "roberta": lambda **own: t.RobertaConfig(**WIDE, max_position_embeddings=130, **own),
    "distilbert": lambda **own: t.DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64, **own),
    "mpnet": lambda **own: t.MPNetConfig(**WIDE, **own),
    "modernbert": lambda **own: t.ModernBertConfig(**WIDE, **own),
    "albert": lambda **own: t.AlbertConfig(**WIDE, embedding_size=16, **own),
    "xlm-roberta": lambda **own: t.XLMRobertaConfig(**WIDE, max_position_embeddings=130, **own),
    "t5": lambda **own: t.T5Config(
        d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, architectures=["T5EncoderModel"], **own
    ),
    "llama": lambda **own: t.LlamaConfig(**WIDE, **own),
    "qwen3": lambda **own: t.Qwen3Config(**WIDE, num_key_value_heads=2, head_dim=16, **own),
    "gpt2": lambda **own: t.GPT2Config(n_embd=32, n_layer=2, n_head=2, **own),
}


@cache
def vocabulary() -> Any:
    return train_wordpiece([text for text in KNOWN for _ in range(3)], 120)


def checkpoint_folder(name: str, folder: Path) -> Path:
    """Save a model of two layers, 32 wide, and its tokenizer."""
    words = vocabulary()
    config = ARCHITECTURES[name](
        vocab_size=len(words), pad_token_id=words.pad_token_id, bos_token_id=2, eos_token_id=3
    )
    torch.manual_seed(0)
    model = t.T5EncoderModel(config) if name == "t5" else t.AutoModel.from_config(config)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


PROMPTS = {"query": "the dogs ", "document": "lists "}

MODULES: dict[str, Callable[[], list[Any]]] = {
    "mean": lambda: [library.Pooling(32, "mean")],
    "cls": lambda: [library.Pooling(32, "cls")],
    "max": lambda: [library.Pooling(32, "max")],
    "lasttoken": lambda: [library.Pooling(32, "lasttoken")],
    "dense": lambda: [library.Pooling(32, "mean"), library.Dense(32, 24)],
    "normalize": lambda: [library.Pooling(32, "mean"), library.Normalize()],
    "prompts": lambda: [library.Pooling(32, "mean")],
}
KINDS = ("plain", *MODULES)
"""What a folder is: a plain checkpoint, or a sentence-transformers folder with what its name says."""


def rich_folder(plain: Path, to: Path, modules: list[Any], prompts: dict[str, str] | None = None) -> Path:
    """A sentence-transformers folder: a plain one, and modules after it."""
    parts = [library.Transformer(str(plain)), *modules]
    SentenceTransformer(modules=parts, prompts=prompts, device="cpu").save(str(to), create_model_card=False)
    return to


def folder_of_kind(name: str, kind: str, folder: Path) -> Path:
    """The folder of an architecture that is of one of the :data:`KINDS`."""
    plain = checkpoint_folder(name, folder / name)
    if kind == "plain":
        return plain
    torch.manual_seed(1)
    prompts = PROMPTS if kind == "prompts" else None
    return rich_folder(plain, folder / f"{name}-{kind}", MODULES[kind](), prompts)
