"""Low-rank adapters: what trains, what is exported, what reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import PreTrainedModel

from retrieval.config import ModelConfig, TrainConfig
from retrieval.config.model import LoraConfig, model_name
from retrieval.config.validation import validate
from retrieval.data.layout import TokenBatch, group_tokens
from retrieval.data.tokens import load_tokenizer
from retrieval.errors import ConfigError
from retrieval.models import bert
from retrieval.models.adapters import (
    adapted_layers,
    adapter_parameters,
    fixed_names,
    load_trained,
    trained_state,
)
from retrieval.models.checkpoint import name_own_base
from retrieval.models.families import build_scorer, in_whole, unloaded_scorer
from retrieval.run.hardware import check_loading
from retrieval.run.identity import identity
from retrieval.search.packed import PackedSentenceTransformer
from retrieval.search.sentence_transformer import sentence_transformer_retriever
from retrieval.training.module import learning_rates
from tests.checkpoints import checkpoint_folder
from tests.models.conftest import SMALL_ROUNDINGS, small_model
from tests.rounding import assert_gradients, assert_vectors
from tests.test_runs import make_config

NAMES = ("bert", "distilbert", "llama", "modernbert", "qwen3", "t5")


def adapted(name: str = "bert", **changes: Any) -> ModelConfig:
    lora = {
        key: changes.pop(key) for key in ("rank", "alpha", "targets", "merge", "dropout") if key in changes
    }
    return small_model(architecture=name, adapter="lora", lora=LoraConfig(**lora), **changes)


def build(config: ModelConfig, tokenizer: Any, trained: bool = True) -> Any:
    """A scorer whose adapters change its vectors."""
    scorer = build_scorer(config, tokenizer, 3, "32").eval()
    if trained:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in adapter_parameters(scorer):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return scorer


def batch_of(tokenizer: Any, texts: list[str], limit: int = 24) -> TokenBatch:
    ids = tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
    return group_tokens(np.concatenate(ids), np.array([len(each) for each in ids]))


@pytest.mark.parametrize("name", NAMES)
def test_a_new_adapter_changes_no_vector_and_no_size(name: str, tokenizer: Any, texts: list[str]) -> None:
    plain = build_scorer(small_model(architecture=name), tokenizer, 3, "32").eval()
    scorer = build(adapted(name), tokenizer, trained=False)
    batch = batch_of(tokenizer, texts[:8])
    assert_vectors(scorer(batch), plain(batch), SMALL_ROUNDINGS)
    found, wanted = scorer.groups().counts(), plain.groups().counts()
    own = sum(part.numel() for part in adapter_parameters(scorer)) + sum(
        part.numel() for part in scorer.projection.parameters()
    )
    assert found == wanted | {"trainable": own}
    assert unloaded_scorer(adapted(name), len(tokenizer)).groups().counts() == found


def test_the_number_of_trainable_parameters_is_the_closed_form(tokenizer: Any) -> None:
    scorer = build(adapted(rank=3, targets=["query", "dense"], hidden=64, intermediate=96), tokenizer)
    attention, up, down = 64 + 64, 64 + 96, 96 + 64
    projection = 64 * 48 + 48
    # Query and output of attention, and both layers of the feed-forward, in each of two layers.
    assert scorer.groups().counts()["trainable"] == 2 * 3 * (2 * attention + up + down) + projection


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_adapters_alone(name: str, tokenizer: Any, texts: list[str]) -> None:
    scorer = build(adapted(name), tokenizer).train()
    scorer(batch_of(tokenizer, texts[:8])).square().sum().backward()
    adapters = {id(part) for part in adapter_parameters(scorer)}
    for each, parameter in scorer.named_parameters():
        trained = id(parameter) in adapters or each.startswith("projection")
        assert (parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)) == trained, each


def test_the_packed_path_computes_what_peft_does(tokenizer: Any, texts: list[str]) -> None:
    packed, plain = (build(adapted(targets=["query", "key", "dense"]), tokenizer) for _ in range(2))
    assert packed.packed
    plain.packed = False
    batch = batch_of(tokenizer, texts[:12])
    for scorer in (packed, plain):
        scorer(batch).square().mean().backward()
    assert_vectors(packed(batch), plain(batch), SMALL_ROUNDINGS)
    one, other = (
        [each.grad for each in model.parameters() if each.grad is not None] for model in (packed, plain)
    )
    assert_gradients(one, other, SMALL_ROUNDINGS)


def test_dropout_of_adapters_takes_the_path_that_has_it(tokenizer: Any) -> None:
    assert not build(adapted(dropout=0.1), tokenizer).packed


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("pretrained", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_exported_folder_gives_the_same_vectors(
    name: str, pretrained: bool, merge: bool, tokenizer: Any, texts: list[str], tmp_path: Path
) -> None:
    config = adapted(name, merge=merge)
    if pretrained:
        words = build_scorer(small_model(architecture=name), tokenizer, 7, "32")
        words.backbone.save_pretrained(tmp_path / "base")
        tokenizer.save_pretrained(tmp_path / "base")
        config = adapted(merge=merge, init="pretrained", pretrained=str(tmp_path / "base"))
    scorer = build(config, tokenizer)
    batch = batch_of(tokenizer, texts[:12])
    wanted = scorer(batch).detach().numpy()
    scorer.settle()
    folder = tmp_path / "run" / "model"
    folder.parent.mkdir()
    scorer.export(tokenizer, (24, 24), folder)
    assert (folder / "adapter_model.safetensors").is_file() != merge
    assert (folder / "model.safetensors").is_file() == (merge or not pretrained)
    model = SentenceTransformer(str(folder), device="cpu")
    assert_vectors(model.encode(texts[:12]), wanted, SMALL_ROUNDINGS)
    retriever = sentence_transformer_retriever(folder, similarity="dot", device="cpu")
    assert_vectors(retriever.encode_texts(texts[:12], "passages"), wanted, SMALL_ROUNDINGS)
    if name == "bert":
        assert PackedSentenceTransformer.supports(model)
    # As a start of another run it is one model, with the adapters in its weights.
    start = small_model(init="pretrained", pretrained=str(folder), projection=None, similarity=None)
    again = build_scorer(start, tokenizer, 1, "32").eval()
    assert not adapted_layers(again)
    assert_vectors(again(batch), wanted, SMALL_ROUNDINGS)


def test_two_exports_are_the_same_files(tokenizer: Any, tmp_path: Path) -> None:
    scorer = build(adapted(targets=["query", "key", "value", "dense"]), tokenizer)
    settings = []
    for _ in range(2):
        scorer.export(tokenizer, (8, 24), tmp_path / "model")
        settings.append(json.loads((tmp_path / "model" / "adapter_config.json").read_text()))
    assert settings[0] == settings[1]
    assert settings[0]["target_modules"] == ["dense", "key", "query", "value"]


def test_a_copy_has_its_own_base(tokenizer: Any, texts: list[str], tmp_path: Path) -> None:
    scorer = build(adapted(), tokenizer)
    scorer.export(tokenizer, (24, 24), tmp_path / "model")
    shutil.move(tmp_path / "model", tmp_path / "moved")
    with pytest.raises(ConfigError, match=r"model, which is missing; set base_model_name_or_path"):
        sentence_transformer_retriever(tmp_path / "moved", device="cpu")
    name_own_base(tmp_path / "moved")
    wanted = scorer(batch_of(tokenizer, texts[:4])).detach().numpy()
    found = SentenceTransformer(str(tmp_path / "moved"), device="cpu").encode(texts[:4])
    assert_vectors(found, wanted, SMALL_ROUNDINGS)


def test_a_missing_base_is_one_line(tokenizer: Any, tmp_path: Path) -> None:
    folder = checkpoint_folder("bert", tmp_path / "base")
    config = adapted(init="pretrained", pretrained=str(folder))
    build(config, tokenizer).export(tokenizer, (8, 24), tmp_path / "model")
    shutil.rmtree(folder)
    with pytest.raises(ConfigError, match=r"base, which is missing; set base_model_name_or_path"):
        sentence_transformer_retriever(tmp_path / "model", device="cpu")


def test_trained_weights_are_loaded_beside_the_frozen_ones(tokenizer: Any, texts: list[str]) -> None:
    scorer, other = build(adapted(), tokenizer), build(adapted(), tokenizer, trained=False)
    weights = {
        name: part
        for name, part in scorer.state_dict().items()
        if "lora_" in name or name.startswith("projection")
    }
    load_trained(other, weights)
    batch = batch_of(tokenizer, texts[:4])
    assert torch.equal(other(batch), scorer(batch))
    weights.pop("projection.weight")
    with pytest.raises(RuntimeError, match=r"projection\.weight"):
        load_trained(other, weights)


def test_a_target_that_is_no_layer_is_named(tokenizer: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"model\.lora\.targets: q_proj names no .*valid: dense, key, query"
    ):
        build(adapted(targets=["q_proj", "key"]), tokenizer)


def test_other_adapters_than_low_rank_ones_do_not_fold(tokenizer: Any) -> None:
    import peft

    scorer = build_scorer(small_model(), tokenizer, 3, "32")
    scorer.backbone.add_adapter(peft.LoraConfig(target_modules=["query"], use_dora=True))  # type: ignore[operator]
    assert not bert.supports(scorer.backbone)


def test_name_and_identity() -> None:
    assert model_name(adapted("qwen3", rank=4)) == "qwen3-l2-h64-lora4"
    assert not {"adapter", "lora"} & identity(make_config(), "f")["model"].keys()
    first = identity(make_config(model__adapter="lora"), "f")["model"]
    second = identity(make_config(model__adapter="lora", model__lora__rank=4), "f")["model"]
    assert (first["adapter"], first["lora"]["rank"], second["lora"]["rank"]) == ("lora", 8, 4)


def test_adapters_beside_a_checkpoint_have_a_learning_rate_of_their_own(tmp_path: Path) -> None:
    start = {"init": "pretrained", "pretrained": str(checkpoint_folder("bert", tmp_path / "base"))}
    assert learning_rates(TrainConfig(), small_model(**start)) == (5e-5, 5e-5)
    assert learning_rates(TrainConfig(), adapted(**start)) == (2e-4, 2e-4)
    assert learning_rates(TrainConfig(lr=1e-3), adapted(**start)) == (1e-3, 1e-3)
    assert learning_rates(TrainConfig(), adapted()) == learning_rates(TrainConfig(), small_model())
    # What null means is a number in the identity, because it meant another one once.
    options = {f"model__{key}": value for key, value in start.items()}
    unsaid = make_config(model__adapter="lora", **options)
    said = make_config(model__adapter="lora", train__lr=2e-4, **options)
    assert identity(unsaid, "f") == identity(said, "f")
    assert identity(unsaid, "f")["train"]["lr"] == 2e-4
    assert identity(make_config(**options), "f")["train"]["lr"] is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model__lora__rank": 4}, r"model\.lora\.rank=4 would not be used with model\.adapter=none"),
        ({"model__adapter": "lora", "model__lora__rank": 0}, r"model\.lora\.rank=0 is out of range"),
    ],
)
def test_keys_without_a_use_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        validate(make_config(**changes))


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found: Callable[[str], None] = lambda name: None  # noqa: E731
    monkeypatch.setattr("retrieval.config.validation.find_spec", found)
    with pytest.raises(ConfigError, match=r"needs peft; install the extra: pip install 'paretrieve\[lora\]'"):
        validate(make_config(model__adapter="lora"))


EIGHT = {
    "model__load_in": "8bit",
    "model__adapter": "lora",
    "model__init": "pretrained",
    "model__pretrained": "some/model",
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"model__adapter": "none"},
            "keeps weights that cannot be trained themselves; add model.adapter=lora",
        ),
        ({"model__init": "scratch"}, "loads a checkpoint; set model.init=pretrained"),
        (
            {"trainer__accelerator": "cpu"},
            "needs an NVIDIA GPU, and trainer.accelerator=cpu; set model.load_in=32",
        ),
        ({}, r"needs bitsandbytes; install the extra: pip install 'paretrieve\[quantised\]'"),
    ],
)
def test_what_cannot_be_loaded_in_8_bits_is_one_line(
    changes: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find: Callable[[str], object] = lambda name: None if name == "bitsandbytes" else "there"  # noqa: E731
    monkeypatch.setattr("retrieval.config.validation.find_spec", find)
    with pytest.raises(ConfigError, match=rf"^model\.load_in=8bit {words}") as error:
        validate(make_config(**{**EIGHT, **changes}))
    assert "\n" not in str(error.value)


def test_8_bits_need_a_gpu() -> None:
    config = adapted(load_in="8bit")
    check_loading(config, torch.device("cuda"))
    check_loading(adapted(), torch.device("cpu"))
    with pytest.raises(
        ConfigError, match=r"needs an NVIDIA GPU, and the device is cpu; set model\.load_in=32"
    ):
        check_loading(config, torch.device("cpu"))


@pytest.mark.parametrize(
    ("family", "whole"),
    [("dual-encoder", ["pooler.dense"]), ("cross-encoder", ["bert.pooler.dense", "classifier"])],
)
def test_transformers_is_asked_for_8_bits(
    family: str, whole: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint_folder("bert", tmp_path / "base")
    tokenizer = load_tokenizer(folder)
    config = adapted(family=family, init="pretrained", pretrained=str(folder), load_in="8bit")
    asked: list[dict[str, Any]] = []
    load = PreTrainedModel.from_pretrained.__func__  # type: ignore[attr-defined]

    def recorded(cls: Any, source: str, *values: Any, **options: Any) -> Any:
        asked.append(
            {key: options.pop(key) for key in ("quantization_config", "device_map") if key in options}
        )
        return load(cls, source, *values, **options)

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", classmethod(recorded))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    scorer = build_scorer(config, tokenizer, 3, "32")
    (options,) = asked
    settings = options["quantization_config"]
    assert settings.load_in_8bit
    assert settings.llm_int8_skip_modules == whole
    assert options["device_map"] == {"": 3}
    # What is exported has the checkpoint's own weights, and the adapters.
    with torch.no_grad():
        for parameter in adapter_parameters(scorer):
            parameter.fill_(0.01)
    exported = in_whole(scorer, tokenizer, 3)
    assert asked[1:] == [{}]
    assert exported.config.load_in == "32"
    assert scorer.config.load_in == "8bit"
    for (name, one), other in zip(exported.named_parameters(), scorer.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert model_name(config) == "base-lora8-8bit"


def test_scales_of_quantised_weights_are_not_trained(tokenizer: Any) -> None:
    scorer = build(adapted(), tokenizer)
    layer = next(iter(adapted_layers(scorer.backbone).values())).base_layer
    layer.register_buffer("SCB", torch.ones(3))
    fixed = fixed_names(scorer)
    assert [name in fixed for name in scorer.state_dict() if name.endswith("SCB")] == [True]
    assert not any(name.endswith("SCB") for name in trained_state(scorer))
    load_trained(scorer, trained_state(scorer))
