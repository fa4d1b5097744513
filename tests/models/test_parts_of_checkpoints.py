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
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    ViTConfig,
    ViTModel,
)

from retrieval.errors import ConfigError
from retrieval.models.checkpoint import read_checkpoint
from retrieval.search.sentence_transformer import sentence_transformer_retriever
from tests.checkpoints import TEXTS, checkpoint_folder, vocabulary
from tests.models.conftest import SMALL_ROUNDINGS
from tests.models.test_foreign_checkpoints import ours
from tests.rounding import assert_vectors

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


def without_any_tokenizer(folder: Path) -> Path:
    made = checkpoint_folder("bert", folder / "made")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (made / name).unlink()
    return made


def folder_of_the_hubs_cache(folder: Path) -> Path:
    checkpoint_folder("bert", folder / "models--a--b" / "snapshots" / "0123abc")
    return folder / "models--a--b"


def run_folder(folder: Path) -> Path:
    checkpoint_folder("bert", folder / "run" / "model")
    return folder / "run"


def gguf(folder: Path) -> Path:
    (folder / "model-Q4_K_M.gguf").write_bytes(b"GGUF")
    return folder


def images(folder: Path) -> Path:
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    ViTModel(ViTConfig(**shape)).save_pretrained(folder / "made")
    vocabulary().save_pretrained(folder / "made")
    return folder / "made"


REFUSED: dict[str, tuple[Make, str]] = {
    "any tokenizer": (without_any_tokenizer, "no tokenizer at .*: what is there knows special tokens alone"),
    "cache": (folder_of_the_hubs_cache, r"it holds no config\.json; is it .*/snapshots/0123abc\?"),
    "run": (run_folder, r"it holds no config\.json; is it .*/run/model\?"),
    "gguf": (gguf, r"a GGUF file is for llama\.cpp: give the folder of the model that it was made from"),
    "nothing": (lambda folder: folder, "give the folder of a checkpoint, or a hub id"),
    "images": (
        images,
        r"does not encode texts; give a text model|cannot encode a text .*give a model of text",
    ),
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


@pytest.mark.parametrize(
    ("name", "line"), [("made/model.safetensors", "is a file"), ("none", "no such folder")]
)
def test_what_is_no_folder_is_said(name: str, line: str, tmp_path: Path) -> None:
    checkpoint_folder("bert", tmp_path / "made")
    with pytest.raises(ConfigError, match=f"{line}; give the folder of a checkpoint, or a hub id"):
        read_checkpoint(str(tmp_path / name))


def test_a_plain_decoder_is_pooled_as_the_library_pools_it(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    made = checkpoint_folder("llama", tmp_path / "made")
    AutoModelForCausalLM.from_pretrained(made).save_pretrained(made)
    library_model = SentenceTransformer(str(made), device="cpu")
    library_model.max_seq_length = 24
    wanted = library_model.encode(TEXTS, normalize_embeddings=True)
    found = ours(made, tmp_path)[0].encode_texts(TEXTS, "passages")
    assert read_checkpoint(str(made)).pooling == ("lasttoken",)
    assert_vectors(found, wanted, SMALL_ROUNDINGS)


def test_links_of_the_hubs_cache_are_followed_and_code_of_a_model_is_not_run(tmp_path: Path) -> None:
    made = checkpoint_folder("bert", tmp_path / "made")
    wanted = ours(made, tmp_path)[0].encode_texts(TEXTS, "passages")
    settings = json.loads((made / "config.json").read_text())
    code = {"auto_map": {"AutoModel": "modeling_own.Own", "AutoConfig": "configuration_own.Own"}}
    (made / "config.json").write_text(json.dumps(settings | code))
    for name in ("modeling_own.py", "configuration_own.py"):
        (made / name).write_text("raise SystemExit('code of a checkpoint was run')")
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    for path in made.iterdir():
        (snapshot / path.name).symlink_to(Path("../../../made") / path.name)
    found = ours(snapshot, tmp_path)[0].encode_texts(TEXTS, "passages")
    assert (found == wanted).all()
    assert len(sentence_transformer_retriever(snapshot, device="cpu").encode_texts(TEXTS, "queries")) == len(
        TEXTS
    )


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
    assert ours(folder, tmp_path)[0].encode_texts(TEXTS, "passages").shape == (len(TEXTS), 32)


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
