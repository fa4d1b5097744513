"""``multi-vector``: rows, scores and cost; training's gradients; folders that sentence-transformers reads."""

from __future__ import annotations

import copy
import string
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from retrieval.config import ModelConfig
from retrieval.config.data import DataConfig
from retrieval.data.layout import TokenBatch, group_tokens
from retrieval.data.tokens import TokenStores, load_tokenizer, train_wordpiece
from retrieval.errors import ConfigError
from retrieval.models.families import build_scorer, unloaded_scorer
from retrieval.models.families.multi_vector import MultiVector
from retrieval.models.flops import Work
from retrieval.search.ranking import top_k
from retrieval.search.retriever import ScorerRetriever
from retrieval.training.losses import contrastive_loss
from tests.checkpoints import TEXTS, checkpoint_folder
from tests.models.conftest import SMALL_ROUNDINGS, WORDS
from tests.rounding import assert_gradients, assert_scores, beyond, likely, max_sim_scale

LENGTHS = (12, 24)
DIMENSION = 16
ROUNDINGS = 2 * SMALL_ROUNDINGS + DIMENSION + LENGTHS[0]
"""Of a score: both texts' vectors, the products of tokens, and the sum over those of the query."""


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """Words with punctuation between them, of 1 to 40 tokens."""
    random = np.random.default_rng(0)
    return ["".join(_words(random)) for _ in range(60)]


def _words(random: np.random.Generator) -> Sequence[str]:
    words = random.choice(WORDS, random.integers(1, 30))
    return [word + random.choice([" ", ", ", ". ", "-"]) for word in words]


@pytest.fixture(scope="session")
def tokens(sentences: list[str]) -> Any:
    return train_wordpiece(sentences, 400)


def model(**changes: Any) -> ModelConfig:
    values = {"layers": 2, "hidden": 64, "heads": 2, "init": "scratch", "token_dimension": DIMENSION}
    return ModelConfig(family="multi-vector", **{**values, **changes})


def built(tokens: Any, **changes: Any) -> MultiVector:
    scorer = build_scorer(model(**changes), tokens, seed=3, precision="32").eval()
    assert isinstance(scorer, MultiVector)
    return scorer


def batch_of(texts: Sequence[str], tokens: Any, length: int = 24) -> TokenBatch:
    encoded = tokens(list(texts), truncation=True, max_length=length)["input_ids"]
    return group_tokens(np.concatenate(encoded), np.array([len(ids) for ids in encoded]), group_cost=8)


def retriever_of(scorer: MultiVector, tokens: Any, config: ModelConfig, folder: Path) -> ScorerRetriever:
    lengths = DataConfig(name="local", max_query_length=LENGTHS[0], max_passage_length=LENGTHS[1])
    fill = MultiVector.fill_of(config, tokens)
    return ScorerRetriever(scorer, TokenStores(lengths, folder, tokens, "", scorer.prompts, fill))


def library_scores(folder: Path, queries: list[str], passages: list[str]) -> np.ndarray:
    loaded = MultiVectorEncoder(str(folder), device="cpu")
    found = loaded.similarity(loaded.encode_query(queries), loaded.encode_document(passages))
    return np.asarray(found)


def scale_of(queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
    return max_sim_scale(queries[..., :-2], passages[..., :-2])


def own_scores(
    retriever: ScorerRetriever, queries: list[str], passages: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and what their errors are relative to."""
    rows = retriever.encode_texts(queries, "queries"), retriever.encode_texts(passages, "passages")
    return retriever.scores.matrix(*rows), scale_of(*rows)


@torch.no_grad()
def test_rows_tell_what_counts_on_each_side(tokens: Any) -> None:
    scorer = built(tokens, temperature=4.0)
    rows = scorer(batch_of(["belbel, belbel", "belbel"], tokens)).numpy()
    ids = tokens("belbel, belbel")["input_ids"]
    comma = ids.index(tokens.convert_tokens_to_ids(","))
    assert rows.shape == (2, len(ids), DIMENSION + 2)
    assert rows[0, :, -2].tolist() == [1] * len(ids)
    assert rows[0, :, -1].tolist() == [float(place != comma) for place in range(len(ids))]
    assert np.linalg.norm(rows[0, :, :-2], axis=1) == pytest.approx(0.5)  # 1/√temperature
    shorter = len(tokens("belbel")["input_ids"])
    assert not rows[1, shorter:].any()
    kept = built(tokens, skip_punctuation=False)(batch_of(["belbel, belbel"], tokens))
    assert kept[0, :, -1].tolist() == [1] * len(ids)


@torch.no_grad()
def test_host_scores_are_the_training_scores(tokens: Any, sentences: list[str]) -> None:
    scorer = built(tokens)
    rows = scorer(batch_of(sentences, tokens))
    queries, passages, scores = rows[:10].numpy(), rows[10:].numpy(), scorer.host_scores()
    expected = scorer.scores(rows[:10], rows[10:]).numpy()
    # All start from the same vectors: products of tokens are added up.
    terms, scale = DIMENSION + rows.shape[1], scale_of(queries, passages)
    close = partial(assert_scores, roundings=terms)
    close(scores.matrix(queries, passages), expected, scale=scale)
    close(scores.pairs(queries, passages[:10]), np.diag(expected), scale=np.diag(scale))
    found = top_k(queries, passages, 5, chunk=7, scores=scores)
    # The n-th highest score moves no further than the score that moves most.
    close(found.scores, -np.sort(-expected)[:, :5], scale=scale.max(axis=1, keepdims=True))
    # A cosine is a quotient of two scores. The divisor is as large as the scale of both.
    close = partial(assert_scores, roundings=2 * terms, scale=1)
    close(scores.cosines(passages, passages), np.ones(50))
    alike = scores.cosines(passages[:-1], passages[1:])
    # The lengths of vectors are 1 up to the sum of squares that each was divided by.
    assert (alike <= 1 + likely(2 * terms + 2 * DIMENSION)).all()
    close(scores.cosines(passages[1:], passages[:-1]), alike)


def test_gradients_are_cached(tokens: Any, sentences: list[str]) -> None:
    scorer, found = built(tokens), []
    for size in (None, 7):
        scorer.mini_batch_size = size
        scorer.zero_grad()
        rows = scorer(batch_of(sentences[:40], tokens))
        scores = scorer.scores(rows[:20], rows[20:])
        contrastive_loss(scores, torch.arange(20), torch.zeros(20, 20, dtype=torch.bool)).backward()
        found.append([p.grad.clone() for p in scorer.parameters() if p.grad is not None])
    assert len(found[0]) == len(list(scorer.parameters()))
    assert_gradients(found[1], found[0], SMALL_ROUNDINGS)


@torch.no_grad()
def test_flops_are_those_that_pytorch_counts(tokens: Any) -> None:
    scorer = built(tokens)
    rows = torch.rand(5, 9, DIMENSION + 2), torch.rand(4, 7, DIMENSION + 2)
    with FlopCounterMode(display=False) as counted:
        scorer.scores(*rows)
    work = scorer.scoring_work(np.full(5, 9), np.full(4, 7))
    assert scorer.flops(work) == counted.get_total_flops() == 2 * DIMENSION * 5 * 9 * 4 * 7
    few = scorer.scoring_work(np.array([9, 3]), np.array([7, 5]), np.array([[0, 1], [1, -1]]))
    assert few.other == 2 * DIMENSION * (9 * 12 + 3 * 5)
    states = torch.rand(3, 8, scorer.hidden)
    with FlopCounterMode(display=False) as counted:
        scorer._projected(states)
    of_tokens = scorer.flops(Work(tokens=24)) - scorer.flops(Work())
    linear = sum(
        p.numel() for n, p in scorer.backbone.named_parameters() if n.endswith("weight") and p.ndim > 1
    )
    linear -= sum(p.numel() for p in scorer.groups().embedding.values() if p.ndim > 1)
    assert of_tokens == counted.get_total_flops() + 2 * linear * 24


VARIANTS: list[dict[str, Any]] = [
    {},
    {"query_expansion": True},
    {"query_expansion": True, "attend_to_expansion": True},
    {"query_expansion": True, "architecture": "modernbert"},
    {"query_expansion": True, "architecture": "roberta"},
    {"skip_punctuation": False},
    {"temperature": 0.25, "query_expansion": True},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_the_library_gives_the_same_scores(
    changes: dict[str, Any], tokens: Any, sentences: list[str], tmp_path: Path
) -> None:
    scorer, config = built(tokens, **changes), model(**changes)
    if "temperature" in changes:
        scorer.prompts = ("bel, ", "dem ")
    retriever = retriever_of(scorer, tokens, config, tmp_path)
    queries, passages = [*sentences[:9], "bel", ""], [*sentences[9:30], "bel", ""]
    found, scale = own_scores(retriever, queries, passages)
    scorer.export(tokens, LENGTHS, tmp_path / "model")
    assert_scores(found, library_scores(tmp_path / "model", queries, passages), ROUNDINGS, scale)
    assert not list((tmp_path / "model").rglob("*.bin"))
    # And a run that starts from the folder begins where this one ended.
    config = ModelConfig(family="multi-vector", init="pretrained", pretrained=str(tmp_path / "model"))
    read = load_tokenizer(tmp_path / "model")
    again = build_scorer(config, read, seed=9, precision="32").eval()
    assert again.prompts == scorer.prompts
    assert again.temperature == pytest.approx(scorer.temperature)
    from_folder, _ = own_scores(retriever_of(again, read, config, tmp_path), queries, passages)
    assert_scores(from_folder, found, ROUNDINGS, scale)
    counted = unloaded_scorer(config, len(read)).groups().counts()
    assert counted == again.groups().counts() == scorer.groups().counts()


def theirs(folder: Path, to: Path, *more: nn.Module, **options: Any) -> Path:
    """A MultiVectorEncoder by the library's own classes: two layers, a bias, an activation."""
    layers = [
        Dense(32, 24, activation_function=nn.GELU(), module_input_name="token_embeddings"),
        Dense(24, 12, activation_function=nn.Identity(), module_input_name="token_embeddings"),
    ]
    mask = MultiVectorMask(list(string.punctuation), skiplist_tasks=options.pop("tasks", None))
    lengths = {"query_length": 12, "document_length": 24}
    transformer = Transformer(str(folder), **(lengths | options))
    modules = [transformer, *layers, Normalize("token_embeddings"), mask, *more]
    prompts = {"query": "the dogs ", "document": "lists "}
    MultiVectorEncoder(modules=modules, device="cpu", prompts=prompts).save(str(to), create_model_card=False)
    return to


EXPANSION = {"strategy": "fixed", "attend": True, "length": 12}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bert", {"query_expansion": EXPANSION}),
        ("bert", {"query_expansion": {**EXPANSION, "attend": False}}),
        ("mpnet", {"query_expansion": {**EXPANSION, "attend": False}}),
        ("mpnet", {"tasks": ["query", "document"]}),
    ],
    ids=str,
)
def test_a_model_of_others_is_taken_over(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    folder = theirs(checkpoint_folder(name, tmp_path / name), tmp_path / "theirs", **options)
    config = ModelConfig(family="multi-vector", init="pretrained", pretrained=str(folder))
    tokenizer = load_tokenizer(folder)
    scorer = build_scorer(config, tokenizer, 1, "32").eval()
    assert isinstance(scorer, MultiVector)
    retriever = retriever_of(scorer, tokenizer, config, tmp_path)
    expected = library_scores(folder, TEXTS, TEXTS)
    found, scale = own_scores(retriever, TEXTS, TEXTS)
    assert_scores(found, expected, ROUNDINGS, scale)
    scorer.export(tokenizer, LENGTHS, tmp_path / "again")
    assert_scores(library_scores(tmp_path / "again", TEXTS, TEXTS), expected, ROUNDINGS, scale)


def test_a_plain_checkpoint_gets_a_new_projection(tmp_path: Path) -> None:
    folder = checkpoint_folder("bert", tmp_path / "bert")
    config = ModelConfig(family="multi-vector", init="pretrained", pretrained=str(folder))
    first, second = (build_scorer(config, load_tokenizer(folder), seed, "32") for seed in (1, 2))
    assert isinstance(first, MultiVector)
    assert first.dimension == 128
    differing = [
        n for (n, a), b in zip(first.named_parameters(), second.parameters(), strict=True) if (a != b).any()
    ]
    assert differing == ["layers.0.linear.weight"]


def test_what_cannot_be_expressed_is_one_line(tmp_path: Path) -> None:
    plain = checkpoint_folder("bert", tmp_path / "bert")
    at_least = {**EXPANSION, "strategy": "min"}
    least = theirs(plain, tmp_path / "least", query_length=20, query_expansion=at_least)
    pooled = theirs(plain, tmp_path / "pooled", HierarchicalTokenPooling(2.0))
    for folder, message in ((least, "strategy=min"), (pooled, "module HierarchicalTokenPooling")):
        config = ModelConfig(family="multi-vector", init="pretrained", pretrained=str(folder))
        tokenizer = load_tokenizer(folder)
        with pytest.raises(ConfigError, match=f"cannot express .*{message}") as error:
            MultiVector.fill_of(config, tokenizer)
        assert "\n" not in str(error.value)
    config.pretrained, config.query_expansion = str(least), True
    assert MultiVector.fill_of(config, tokenizer) == tokenizer.mask_token_id


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_tokens_of_a_query_do_not_see_its_expansion(architecture: str, tokens: Any) -> None:
    plain = tokens(["belbel bel", "belbel", "bel " * 30], truncation=True, max_length=12)["input_ids"]
    lengths = [len(ids) for ids in plain]
    for ids in plain:
        ids.extend([tokens.mask_token_id] * (12 - len(ids)))
    batch = group_tokens(np.concatenate(plain), np.full(3, 12))
    alone = batch_of(["belbel bel", "belbel", "bel " * 30], tokens, 12)
    for attends in (False, True):
        scorer = built(tokens, architecture=architecture, query_expansion=True, attend_to_expansion=attends)
        rows, expected = scorer(batch), scorer(alone)
        for row, (of_text, length) in enumerate(zip(expected, lengths, strict=True)):
            own, alone_own = rows[row, :length], of_text[:length]
            equal = (beyond(own[:, :-2], alone_own[:, :-2], SMALL_ROUNDINGS) <= 0).all()
            assert equal == (not attends or length == 12)
            assert torch.equal(own[:, -2:], alone_own[:, -2:])
        # What fills a query up has vectors of its own, by its places.
        assert (rows[1, lengths[1] :, -2] == 1).all()
        assert (rows[1, -1] != rows[1, -2]).any()


def test_gradients_do_not_depend_on_how_texts_are_laid_out(tokens: Any, sentences: list[str]) -> None:
    scorer = built(tokens, query_expansion=True)
    ids = [own + [tokens.mask_token_id] * (12 - len(own)) for own in tokens(sentences[:30])["input_ids"]]
    batch = group_tokens(np.concatenate(ids), np.array([len(own) for own in ids]), group_cost=8)
    found = []
    for packed in (True, False):
        scorer.packed = packed
        scorer.zero_grad()
        rows = scorer(batch)
        scorer.scores(rows[:10], rows[10:]).square().sum().backward()
        found.append([p.grad.clone() for p in scorer.parameters() if p.grad is not None])
    assert_gradients(found[1], found[0], SMALL_ROUNDINGS)


def test_expansion_that_nothing_attends_to_needs_a_token_of_its_own(tokens: Any) -> None:
    config = model(query_expansion=True)
    tokenizer = copy.deepcopy(tokens)
    tokenizer.mask_token = tokenizer.sep_token
    with pytest.raises(ConfigError, match=r"attend_to_expansion=false: .* ends each text with \[SEP\]"):
        MultiVector.fill_of(config, tokenizer)
    config.attend_to_expansion = True
    assert MultiVector.fill_of(config, tokenizer) == tokens.sep_token_id
    for changes in ({"query_expansion": None}, {"query_expansion": False}):
        with pytest.raises(ConfigError, match="not be used without query expansion"):
            MultiVector.check(model(attend_to_expansion=False, **changes))


def test_expansion_fills_queries_alone(tokens: Any) -> None:
    lengths = DataConfig(name="local", max_query_length=12, max_passage_length=24)
    fill = MultiVector.fill_of(model(query_expansion=True), tokens)
    assert fill == tokens.mask_token_id
    assert MultiVector.fill_of(model(), tokens) is None
    stores = TokenStores(lengths, Path("nowhere"), tokens, "", fill=fill)
    plain = tokens(["belbel", "bel " * 30], truncation=True, max_length=12)["input_ids"]
    filled = stores.tokenize(["belbel", "bel " * 30], "queries")["input_ids"]
    assert filled == [plain[0] + [fill] * (12 - len(plain[0])), plain[1]]
    assert stores.tokenize(["belbel"], "passages")["input_ids"] == [plain[0]]
