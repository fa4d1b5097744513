"""Checkpoints of many architectures, as folders of transformers and of sentence-transformers."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as library
from torch.utils.flop_counter import FlopCounterMode

from retrieval.config import ModelConfig
from retrieval.config.data import DataConfig
from retrieval.config.model import model_name
from retrieval.data.tokens import TokenStores, load_tokenizer, tokenizer_fingerprint
from retrieval.errors import ConfigError
from retrieval.models import backbones
from retrieval.models.backbones import load_backbone
from retrieval.models.checkpoint import hub_commit, read_checkpoint, read_settings
from retrieval.models.families import build_scorer, unloaded_scorer
from retrieval.models.flops import Work, backbone_flops
from retrieval.models.soundness import check_scorer, positions
from retrieval.search.retriever import ScorerRetriever
from retrieval.search.sentence_transformer import sentence_transformer_retriever
from tests.checkpoints import (
    ARCHITECTURES,
    KINDS,
    PROMPTS,
    TEXTS,
    checkpoint_folder,
    folder_of_kind,
    rich_folder,
)
from tests.models.conftest import SMALL_ROUNDINGS
from tests.rounding import assert_vectors

POOLINGS = ("mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")


@pytest.fixture
def plain(tmp_path: Path) -> Callable[[str], Path]:
    """Make the folder of a tiny random checkpoint of an architecture."""
    return lambda name: checkpoint_folder(name, tmp_path / name)


def rich(folder: Path, to: Path, pooling: str, layers: bool, prompts: dict[str, str] | None) -> Path:
    """A sentence-transformers folder around a plain one."""
    more = [library.Dense(32, 24), library.LayerNorm(24), library.Normalize()] if layers else []
    return rich_folder(folder, to, [library.Pooling(32, pooling_mode=pooling), *more], prompts)


def ours(folder: Path, tmp_path: Path, **options: Any) -> tuple[ScorerRetriever, Any, TokenStores]:
    found = read_checkpoint(str(folder))
    tokenizer = load_tokenizer(found.backbone)
    config = ModelConfig(init="pretrained", pretrained=str(folder), **{"temperature": 1.0, **options})
    scorer = build_scorer(config, tokenizer, 1, "32").eval()
    lengths = DataConfig(name="local", max_query_length=24, max_passage_length=24)
    stores = TokenStores(lengths, tmp_path, tokenizer, tokenizer_fingerprint(tokenizer), found.prompts)
    check_scorer(scorer, tokenizer, (24, 24), str(folder))
    return ScorerRetriever(scorer, stores), scorer, stores


def assert_equal_to_the_library(folder: Path, tmp_path: Path) -> None:
    retriever, scorer, stores = ours(folder, tmp_path)
    model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = 24
    exported = tmp_path / "exported"
    scorer.export(stores.tokenizer, (24, 24), exported)
    again = SentenceTransformer(str(exported), device="cpu")
    for side, name in (("queries", "encode_query"), ("passages", "encode_document")):
        wanted = getattr(model, name)(TEXTS, normalize_embeddings=model.similarity_fn_name == "cosine")
        found = retriever.encode_texts(TEXTS, side)  # type: ignore[arg-type]
        assert_vectors(found, wanted, SMALL_ROUNDINGS)
        assert_vectors(getattr(again, name)(TEXTS), found, SMALL_ROUNDINGS)
    counted = unloaded_scorer(scorer.config, 1)
    assert counted.groups().counts() == scorer.groups().counts()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_folder_scores_as_the_library_has_it(name: str, kind: str, tmp_path: Path) -> None:
    assert_equal_to_the_library(folder_of_kind(name, kind, tmp_path), tmp_path)


@pytest.mark.parametrize("name", ["bert", "mpnet", "t5", "llama", "gpt2"])
def test_modules_and_prompts_are_taken_over(name: str, plain: Callable[[str], Path], tmp_path: Path) -> None:
    folder = rich(plain(name), tmp_path / "rich", "mean", True, PROMPTS)
    assert_equal_to_the_library(folder, tmp_path)


@pytest.mark.parametrize("default", [None, "query", "passage"])
def test_prompts_of_other_names_are_those_that_the_library_chooses(
    default: str | None, plain: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = rich(plain("bert"), tmp_path / "rich", "mean", False, None)
    path = folder / "config_sentence_transformers.json"
    settings = json.loads(path.read_text())
    settings |= {"prompts": {"query": "ask: ", "passage": "text: "}, "default_prompt_name": default}
    path.write_text(json.dumps(settings))
    assert_equal_to_the_library(folder, tmp_path)


def test_weights_without_safetensors_are_read_of_known_publishers_alone(
    plain: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = plain("bert")
    expected = backbones._loaded(str(folder))[0].state_dict()
    torch.save(expected, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        backbones._loaded(str(folder))
    monkeypatch.setattr(backbones, "PLAIN_BERTS", {str(folder)})
    found = backbones._loaded(str(folder))[0].state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_hub_that_does_not_answer_does_not_say_that_a_file_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("An error happened while trying to locate the file")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", silent)
    with pytest.raises(ConfigError, match="cannot be read: An error happened"):
        read_settings("some/model", "modules.json")
    # It has said before that there is none.
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda *_: huggingface_hub._CACHED_NO_EXIST
    )
    assert read_settings("some/model", "modules.json") == {}

    def none(*_: Any, **__: Any) -> str:
        raise EntryNotFoundError("404 Client Error")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", none)
    assert read_settings("some/model", "modules.json") == {}


def test_the_commit_of_a_cached_checkpoint_is_told(
    plain: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "hub"
    snapshot = cache / "models--some--model" / "snapshots" / "1234abcd"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    refs = cache / "models--some--model" / "refs"
    refs.mkdir()
    (refs / "main").write_text("1234abcd")
    look = functools.partial(huggingface_hub.try_to_load_from_cache, cache_dir=cache)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", look)
    assert hub_commit("some/model") == "1234abcd"
    assert hub_commit("some/other") is None
    assert hub_commit(str(plain("bert"))) is None


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_is_the_librarys(pooling: str, plain: Callable[[str], Path], tmp_path: Path) -> None:
    folder = rich(plain("bert"), tmp_path / "rich", pooling, pooling == "max", None)
    assert_equal_to_the_library(folder, tmp_path)


def test_an_old_layout_is_read(plain: Callable[[str], Path], tmp_path: Path) -> None:
    folder = rich(plain("bert"), tmp_path / "old", "cls", False, None)
    inner = folder / "0_Transformer"
    inner.mkdir()
    for path in [each for each in folder.iterdir() if each.is_file()]:
        if path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(inner / path.name)
    listed = json.loads((folder / "modules.json").read_text())
    listed[0] |= {"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}
    listed[1]["type"] = "sentence_transformers.models.Pooling"
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps(
            {
                "word_embedding_dimension": 32,
                "pooling_mode_cls_token": True,
                "pooling_mode_mean_tokens": False,
            }
        )
    )
    found = read_checkpoint(str(folder))
    assert (found.backbone, found.pooling) == (str(inner), ("cls",))
    assert_equal_to_the_library(folder, tmp_path)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_what_a_run_exported_scores_as_it_did(
    temperature: float, plain: Callable[[str], Path], tmp_path: Path
) -> None:
    first, scorer, stores = ours(plain("bert"), tmp_path, projection=16, similarity="cosine")
    scorer.temperature = temperature
    scorer.export(stores.tokenizer, (24, 24), tmp_path / "run" / "model")
    again, taken, _ = ours(tmp_path / "run" / "model", tmp_path, temperature=None)
    assert [type(module).__name__ for module in taken.after] == ["Dense", "Normalize"]
    assert taken.temperature == pytest.approx(temperature)
    assert taken.groups().counts() == scorer.groups().counts()
    for side in ("queries", "passages"):
        wanted = first.encode_texts(TEXTS, side)  # type: ignore[arg-type]
        assert_vectors(again.encode_texts(TEXTS, side), wanted, SMALL_ROUNDINGS)  # type: ignore[arg-type]


def test_a_key_stands_above_the_folder(plain: Callable[[str], Path], tmp_path: Path) -> None:
    folder = rich(plain("bert"), tmp_path / "rich", "cls", True, None)
    _, scorer, _ = ours(folder, tmp_path, pooling="mean", projection=16, similarity="dot")
    assert (scorer.pooling, scorer.dimension, scorer.cosine, len(scorer.after)) == (("mean",), 16, False, 0)


def test_what_cannot_be_taken_over_is_said(
    plain: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts: list[Any] = [
        library.Transformer(str(plain("bert"))),
        library.WeightedLayerPooling(32, 2),
        library.Pooling(32),
    ]
    folder = tmp_path / "weighted"
    SentenceTransformer(modules=parts, device="cpu").save(str(folder), create_model_card=False)
    ours(folder, tmp_path)
    assert "not taken over: module WeightedLayerPooling" in caplog.text


def test_runs_of_folders_called_model_are_told_apart() -> None:
    names = [model_name(ModelConfig(init="pretrained", pretrained=f"runs/{run}/model")) for run in "ab"]
    assert names == ["a-model", "b-model"]


@pytest.mark.parametrize(
    ("name", "rows"), [("bert", 512), ("roberta", 129), ("distilbert", 512), ("gpt2", 1024), ("t5", None)]
)
def test_positions(name: str, rows: int | None, plain: Callable[[str], Path], tmp_path: Path) -> None:
    _, scorer, _ = ours(plain(name), tmp_path)
    assert positions(scorer.backbone) == rows


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_flops_are_those_that_pytorch_counts(name: str, plain: Callable[[str], Path]) -> None:
    config = ModelConfig(init="pretrained", pretrained=str(plain(name)))
    backbone: Any = load_backbone(config, None).eval()
    backbone.set_attn_implementation("eager")  # fused attention is not counted on a CPU
    embedded = torch.randn(2, 20, backbone.get_input_embeddings().weight.shape[1])
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        backbone(inputs_embeds=embedded, attention_mask=torch.ones(2, 20, dtype=torch.long))
    assert backbone_flops(backbone, Work(tokens=40, attended=800, sequences=2)) == counted.get_total_flops()


def _cut(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def _pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    )


def _change(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _renamed(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({f"other.{key}": value for key, value in weights.items()}, folder / "model.safetensors")


def _infinite(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.1.output.dense.bias"][0] = float("nan")
    save_file(weights, folder / "model.safetensors")


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut": (_cut, "cannot load it .*Git LFS pointer"),
    "pointer": (_pointer, "cannot load it .*Git LFS pointer"),
    "shapes": (
        lambda folder: _change(folder, hidden_size=64),
        r"has shape \[.*32.*\] in its weights, \[.*64",
    ),
    "names": (_renamed, "it lacks 37 weights of BertModel"),
    "not finite": (_infinite, "1 weights are not finite"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
    "few words": (lambda folder: _few_words(folder), r"tokenizer has \d+ tokens, its table of words 20 rows"),
}


def _few_words(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][:20].clone()
    save_file(weights, folder / "model.safetensors")
    _change(folder, vocab_size=20)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_folder_is_one_line(what: str, plain: Callable[[str], Path], tmp_path: Path) -> None:
    folder, (damage, words) = plain("bert"), BROKEN[what]
    damage(folder)
    with pytest.raises(ConfigError, match=words):
        ours(folder, tmp_path)


@pytest.mark.parametrize("what", ["cut", "pointer", "shapes"])
def test_evaluate_names_a_broken_folder(what: str, plain: Callable[[str], Path]) -> None:
    folder = plain("bert")
    BROKEN[what][0](folder)
    with pytest.raises(ConfigError, match="not loadable"):
        sentence_transformer_retriever(folder)
