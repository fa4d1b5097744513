"""Backbones from scratch, of every architecture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from retrieval.config import ModelConfig
from retrieval.config.model import ARCHITECTURES, model_name, vectors_of
from retrieval.data.layout import TokenBatch, group_tokens
from retrieval.errors import ConfigError
from retrieval.models.backbones import load_backbone
from retrieval.models.families import build_scorer, unloaded_scorer
from retrieval.models.flops import Work, backbone_flops
from retrieval.models.soundness import positions
from tests.models.conftest import SMALL_ROUNDINGS, small_model
from tests.rounding import assert_vectors, beyond

CAUSAL = ("gemma3", "llama", "qwen3")
WITH_A_TABLE = ("bert", "distilbert", "roberta")


def model_of(name: str, **changes: Any) -> ModelConfig:
    return small_model(architecture=name, **changes)


def batch_of(ids: list[list[int]]) -> TokenBatch:
    return group_tokens(np.concatenate(ids), np.array([len(each) for each in ids]))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_sentence_transformers_gives_the_same_vectors(
    name: str, texts: list[str], tokenizer: Any, model_folder: Any
) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = build_scorer(model_of(name), tokenizer, seed=3, precision="32").eval()
    encoder.export(tokenizer, (8, 24), model_folder)
    loaded = SentenceTransformer(str(model_folder), device="cpu")
    for limit, encode in ((8, loaded.encode_query), (24, loaded.encode_document)):
        ids = tokenizer(texts[:20], truncation=True, max_length=limit)["input_ids"]
        expected = encoder(batch_of(ids)).detach().numpy()
        assert_vectors(encode(texts[:20]), expected, SMALL_ROUNDINGS)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_plan_counts_what_is_built(name: str, tokenizer: Any) -> None:
    encoder = build_scorer(model_of(name), tokenizer, seed=3, precision="32")
    planned = unloaded_scorer(model_of(name), len(tokenizer))
    assert planned.groups().counts() == encoder.groups().counts()
    work = Work(tokens=70, attended=1100, sequences=6)
    assert planned.flops(work) == encoder.flops(work)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_flops_are_those_that_pytorch_counts(name: str, tokenizer: Any) -> None:
    backbone: Any = load_backbone(model_of(name), tokenizer).eval()
    backbone.set_attn_implementation("eager")  # fused attention is not counted on a CPU
    embedded = torch.randn(2, 20, 64)
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        backbone(inputs_embeds=embedded, attention_mask=torch.ones(2, 20, dtype=torch.long))
    assert backbone_flops(backbone, Work(tokens=40, attended=800, sequences=2)) == counted.get_total_flops()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_shape_and_seed_are_the_configurations(name: str, tokenizer: Any) -> None:
    model = model_of(name, layers=3, hidden=48, heads=4, intermediate=80)
    first, same, other = (build_scorer(model, tokenizer, seed, "32") for seed in (1, 1, 2))
    shape: Any = first.backbone.config
    assert (shape.num_hidden_layers, shape.hidden_size, shape.num_attention_heads) == (3, 48, 4)
    linear = [part for part in first.backbone.modules() if isinstance(part, torch.nn.Linear)]
    assert 80 in {part.out_features for part in linear} | {part.out_features // 2 for part in linear}
    pairs = zip(first.parameters(), same.parameters(), other.parameters(), strict=True)
    equal = [(torch.equal(a, b), torch.equal(a, c)) for a, b, c in pairs]
    assert all(to_same for to_same, _ in equal)
    assert not all(to_other for _, to_other in equal)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_learned_positions_hold_the_longest_text(name: str, tokenizer: Any) -> None:
    found = positions(load_backbone(model_of(name), tokenizer))
    assert found == (512 if name in WITH_A_TABLE else None)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_decoder_pools_its_last_token_and_no_later_one_changes_a_state(name: str, tokenizer: Any) -> None:
    causal = name in CAUSAL
    assert vectors_of(model_of(name)).pooling == ("lasttoken" if causal else "mean")
    assert vectors_of(model_of(name, pooling="cls")).pooling == "cls"
    encoder = build_scorer(model_of(name), tokenizer, seed=3, precision="32").eval()
    with torch.no_grad():
        short, long = (encoder.states(batch_of([ids]))[0].values[0, :3] for ids in ([2, 9, 8], [2, 9, 8, 7]))
    assert (beyond(short, long, SMALL_ROUNDINGS) <= 0).all() == causal


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_table_of_words_is_what_the_layers_get(name: str, tokenizer: Any) -> None:
    encoder = build_scorer(model_of(name), tokenizer, seed=3, precision="32")
    ids = torch.arange(12)
    embedded = encoder.backbone.get_input_embeddings()(ids)  # type: ignore[operator]
    assert torch.equal(encoder.word_table[ids], embedded)


def test_names_tell_architectures_apart_and_those_of_bert_stay() -> None:
    names = [
        model_name(ModelConfig(layers=2, hidden=128, init="scratch", architecture=name))
        for name in ("bert", "qwen3")
    ]
    assert names == ["bert-tiny", "qwen3-l2-h128"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden": 66, "heads": 4}, r"model\.hidden=66 does not divide into 4 attention heads"),
        ({"hidden": 36, "heads": 4}, r"gives each of 4 attention heads 9; choose an even"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ARCHITECTURES["llama"].check(model_of("llama", **changes))
