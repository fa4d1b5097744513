"""Folders that lack a part or hold another kind of model: one line, in training and in measuring."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from sentence_transformers.sentence_transformer import modules as library
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from retrieval.errors import ConfigError
from retrieval.models.checkpoint import read_checkpoint
from retrieval.search.sentence_transformer import sentence_transformer_retriever
from tests.checkpoints import TEXTS, checkpoint_folder
from tests.models.test_foreign_checkpoints import ours

Make = Callable[[Path], Path]


def bi_encoder(folder: Path, *modules: Any) -> Path:
    from sentence_transformers import SentenceTransformer

    plain = checkpoint_folder("bert", folder / "plain")
    parts = [library.Transformer(str(plain), max_seq_length=40), *modules]
    SentenceTransformer(modules=parts, device="cpu").save(str(folder / "made"), create_model_card=False)
    return folder / "made"


def without_pooling(folder: Path) -> Path:
    made = bi_encoder(folder, library.Pooling(32, "cls"), library.Normalize())
    shutil.rmtree(made / "1_Pooling")
    return made


def without_dense(folder: Path) -> Path:
    made = bi_encoder(folder, library.Pooling(32, "cls"), library.Dense(32, 16))
    shutil.rmtree(made / "2_Dense")
    return made


def adapter(folder: Path) -> Path:
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    save_file({"base_model.model.x": torch.zeros(2)}, folder / "adapter_model.safetensors")
    return folder


def fewer_layers_by_its_configuration(folder: Path) -> Path:
    made = checkpoint_folder("bert", folder / "made")
    settings = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 1}))
    return made


def another_tokenizer(folder: Path) -> Path:
    made = checkpoint_folder("bert", folder / "made")
    model = AutoModel.from_pretrained(made)
    model.resize_token_embeddings(60)
    model.save_pretrained(made)
    return made


REFUSED: dict[str, tuple[Make, str]] = {
    "pooling": (without_pooling, r"names the folder 1_Pooling of its Pooling, which is missing; copy"),
    "dense": (without_dense, r"names the folder 2_Dense of its Dense, which is missing; copy"),
    "adapter": (adapter, r"an adapter alone; merge it into its base model"),
    "layers": (fewer_layers_by_its_configuration, r"layers that its config\.json does not know, such as enc"),
    "tokenizer": (another_tokenizer, r"its tokenizer has \d+ tokens, its table of words 60 rows"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_lacks_a_part_is_refused_by_both_ways(what: str, tmp_path: Path) -> None:
    make, line = REFUSED[what]
    folder = make(tmp_path)
    with pytest.raises(ConfigError, match=line):
        ours(folder, tmp_path)
    with pytest.raises(ConfigError, match=line):
        sentence_transformer_retriever(folder, device="cpu")


def cross_encoder(folder: Path) -> Path:
    from sentence_transformers import CrossEncoder

    plain = checkpoint_folder("bert", folder / "plain")
    CrossEncoder(str(plain), num_labels=1, device="cpu").save_pretrained(str(folder / "made"))
    return folder / "made"


def classifier(folder: Path) -> Path:
    made = checkpoint_folder("bert", folder / "made")
    AutoModelForSequenceClassification.from_pretrained(made, num_labels=1).save_pretrained(made)
    return made


def sparse_encoder(folder: Path) -> Path:
    from sentence_transformers import SparseEncoder

    plain = checkpoint_folder("bert", folder / "plain")
    AutoModelForMaskedLM.from_pretrained(plain).save_pretrained(plain)
    SparseEncoder(str(plain), device="cpu").save_pretrained(str(folder / "made"))
    return folder / "made"


@pytest.mark.parametrize(
    ("make", "kind"),
    [(cross_encoder, "CrossEncoder"), (classifier, "CrossEncoder"), (sparse_encoder, "SparseEncoder")],
)
def test_another_kind_of_model_is_not_measured_by_vectors_that_it_does_not_give(
    make: Make, kind: str, tmp_path: Path
) -> None:
    folder = make(tmp_path)
    with pytest.raises(ConfigError, match=f"a {kind} gives texts no dense vectors; give a bi-encoder"):
        sentence_transformer_retriever(folder, device="cpu")
    # Training may start from its transformer, and says so.
    assert f"the head of a {kind}" in read_checkpoint(str(folder)).left
    assert ours(folder, tmp_path)[0].encode_texts(TEXTS, "passages").shape == (4, 32)


def test_weights_in_several_files_and_heads_that_are_not_used_are_read(tmp_path: Path) -> None:
    whole = checkpoint_folder("bert", tmp_path / "whole")
    wanted = ours(whole, tmp_path)[0].encode_texts(TEXTS, "passages")
    made = checkpoint_folder("bert", tmp_path / "made")
    model = AutoModelForMaskedLM.from_pretrained(made)
    (made / "model.safetensors").unlink()
    model.save_pretrained(made, max_shard_size="20KB")
    assert len(list(made.glob("model-*.safetensors"))) > 2
    found = ours(made, tmp_path)[0].encode_texts(TEXTS, "passages")
    assert (found == wanted).all()
