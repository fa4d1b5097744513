"""The family ``sparse``: vectors, scores, regulariser, size, FLOPs, and folders of sentence-transformers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from retrieval.config import ModelConfig
from retrieval.config.validation import validate
from retrieval.data.layout import WIDTH_MULTIPLE, TokenBatch, group_tokens
from retrieval.errors import ConfigError
from retrieval.models.families import build_scorer
from retrieval.models.families.sparse import Sparse
from retrieval.models.flops import BACKWARD, FORWARD, Work
from retrieval.models.sparse_rows import SparseScores, packed, unpacked
from retrieval.search.ranking import top_k
from retrieval.training.losses import contrastive_loss
from tests.end_to_end.conftest import SMALL, composed
from tests.models.conftest import SMALL_ROUNDINGS
from tests.rounding import (
    assert_gradients,
    assert_ranking,
    assert_scores,
    assert_vectors,
    product_bound,
    product_scale,
)

LENGTH = 24


def model_of(**changes: Any) -> ModelConfig:
    shape = {"family": "sparse", "layers": 2, "hidden": 64, "heads": 2, "init": "scratch"}
    return ModelConfig(**{**shape, **changes})


@pytest.fixture
def scorer(tokenizer: Any) -> Sparse:
    return build_scorer(model_of(), tokenizer, seed=3, precision="32").eval()


def batch_of(texts: list[str], tokenizer: Any, length: int = LENGTH) -> TokenBatch:
    encoded = tokenizer(texts, truncation=True, max_length=length)["input_ids"]
    return group_tokens(np.concatenate(encoded), np.array([len(ids) for ids in encoded]), group_cost=8)


def by_transformers(scorer: Sparse, texts: list[str], tokenizer: Any) -> Tensor:
    found = []
    for text in texts:  # one at a time: without padding
        ids = tokenizer(text, truncation=True, max_length=LENGTH, return_tensors="pt")["input_ids"]
        found.append(scorer.model(input_ids=ids).logits[0].amax(0))
    return torch.log1p(torch.relu(torch.stack(found)))


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "modernbert"])
def test_weights_and_gradients_are_those_of_all_logits(
    architecture: str, texts: list[str], tokenizer: Any
) -> None:
    config = model_of(architecture=architecture)
    scorer = build_scorer(config, tokenizer, seed=3, precision="32").eval()
    found, expected = (
        scorer(batch_of(texts[:12], tokenizer)),
        by_transformers(scorer, texts[:12], tokenizer),
    )
    assert_vectors(found, expected, SMALL_ROUNDINGS)
    assert 0 < float((found > 0).float().mean()) < 1
    trained = list(scorer.parameters())
    ours, theirs = (
        torch.autograd.grad(rows.square().sum(), trained, allow_unused=True) for rows in (found, expected)
    )
    assert [own is None for own in ours] == [other is None for other in theirs]
    assert_gradients(
        *([each for each in many if each is not None] for many in (ours, theirs)), SMALL_ROUNDINGS
    )


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "modernbert"])
def test_from_scratch_the_words_of_a_text_are_active(
    architecture: str, texts: list[str], tokenizer: Any
) -> None:
    config = model_of(architecture=architecture, hidden=128)
    scorer = build_scorer(config, tokenizer, seed=3, precision="32").eval()
    encoded = tokenizer(texts[:30], truncation=True, max_length=LENGTH)["input_ids"]
    active = scorer(batch_of(texts[:30], tokenizer)) > 0
    own = torch.zeros_like(active)
    for row, ids in zip(own, encoded, strict=True):
        row[ids] = True
    assert float((active & own).sum() / own.sum()) > 0.8
    assert float((active & ~own).sum() / (~own).sum()) < 0.05


def test_gradients_are_cached(scorer: Sparse, texts: list[str], tokenizer: Any) -> None:
    found = []
    for size in (None, 7):
        scorer.mini_batch_size = size
        scorer.zero_grad()
        rows = scorer(batch_of(texts[:40], tokenizer))
        scores = scorer.scores(rows[:20], rows[20:])
        loss = contrastive_loss(scores, torch.arange(20), torch.zeros(20, 20, dtype=torch.bool))
        added = scorer.regularisation(rows[:20], rows[20:], 1.0)
        assert added is not None
        (loss + added).backward()  # type: ignore[no-untyped-call]
        found.append([p.grad.clone() for p in scorer.parameters() if p.grad is not None])
    assert_gradients(found[1], found[0], SMALL_ROUNDINGS)


@torch.no_grad()
def test_rows_in_host_memory_score_as_dense_vectors(scorer: Sparse, texts: list[str], tokenizer: Any) -> None:
    dense = scorer(batch_of(texts[:50], tokenizer))
    rows = scorer.to_host(dense)
    assert rows.shape == (50, int((dense > 0).sum(1).max()), 2)
    assert torch.equal(scorer.from_host(rows), dense)
    queries, passages, scores = rows[:10], rows[10:], scorer.host_scores()
    expected = (dense[:10].double() @ dense[10:].double().T).numpy()
    bound = product_bound(dense[:10], dense[10:])
    assert (np.abs(scores.matrix(queries, passages) - expected) <= bound).all()
    assert (np.abs(scores.pairs(queries, passages[:10]) - np.diag(expected)) <= np.diag(bound)).all()
    columns = np.array([[3, -1, 39]] * 10)
    listed = scores.listed(queries, passages, columns)
    assert np.isneginf(listed[:, 1]).all()
    assert (np.abs(listed[:, [0, 2]] - expected[:, [3, 39]]) <= bound[:, [3, 39]]).all()
    assert_ranking(top_k(queries, passages, 5, chunk=7, scores=scores), dense[:10], dense[10:], 5)
    # A score over the root of two others. No terms cancel, so that each is known relative to itself.
    assert_scores(scores.cosines(passages, passages), np.ones(40), 2 * rows.shape[1], 1)


@pytest.mark.parametrize("share", [0.01, 0.9])
def test_sparse_and_dense_products_are_the_same(share: float) -> None:
    random = np.random.default_rng(1)
    vectors = (random.random((30, 700)) * (random.random((30, 700)) < share)).astype(np.float32)
    vectors[3] = 0  # a text without an active word
    rows = packed(torch.from_numpy(vectors))
    assert np.array_equal(unpacked(rows, 700, torch.device("cpu")).numpy(), vectors)
    scores = SparseScores(700)
    expected = vectors[:9].astype(np.float64) @ vectors.T.astype(np.float64)
    assert (np.abs(scores.matrix(rows[:9], rows) - expected) <= product_bound(vectors[:9], vectors)).all()
    assert (scores.matrix(rows[3:4], rows) == 0).all()


def test_statistics_by_hand() -> None:
    passages = torch.tensor([[1.0, 0.0, 2.0, 0.0], [0.5, 0.0, 0.0, 0.0]])
    queries = torch.tensor([[1.0, 3.0, 0.0, 0.0], [0.0, 0.0, 4.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    statistics = SparseScores(4).statistics()
    for index, row in enumerate(passages):  # shards of one row, each as wide as it needs to be
        statistics.take(packed(row[None]), index)
    found = statistics.metrics(packed(queries))
    assert found["sparse/query_active"] == pytest.approx(4 / 3)
    assert found["sparse/passage_active"] == pytest.approx(3 / 2)
    # Word 0: 2/3 of the queries, both passages; word 2: 1/3 of the queries, half of the passages.
    assert found["sparse/flops"] == pytest.approx(2 / 3 * 1 + 1 / 3 * 1 / 2)
    assert found["cost/index_bytes"] == 3 * 8


def test_regularisers_by_hand(tokenizer: Any) -> None:
    queries = torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.0, 0.0]])
    passages = torch.tensor([[0.0, 4.0, 0.0]])
    weights = {"query_regularisation": 0.1, "passage_regularisation": 0.01, "regularisation_steps": 0.5}

    def of(kind: str, progress: float, **changes: Any) -> Tensor | None:
        config = model_of(regulariser=kind, **{**weights, **changes})
        return build_scorer(config, tokenizer, 1, "32").regularisation(queries, passages, progress)

    flops = 0.1 * (2.0**2 + 1.0**2) + 0.01 * 4.0**2
    assert float(of("flops", 1.0)) == pytest.approx(flops)
    assert float(of("l1", 1.0)) == pytest.approx(0.1 * 3 + 0.01 * 4)
    assert of("none", 1.0) is None
    assert float(of("flops", 0.0)) == 0
    assert float(of("flops", 0.25)) == pytest.approx(flops / 4)
    assert float(of("flops", 0.5)) == pytest.approx(flops)
    assert float(of("flops", 0.0, regularisation_steps=0.0)) == pytest.approx(flops)


def test_size_is_known(scorer: Sparse, tokenizer: Any) -> None:
    layers, hidden, words = 2, 64, len(tokenizer)
    backbone = layers * (12 * hidden**2 + 13 * hidden)
    transform = hidden**2 + 3 * hidden
    tables = (words + 512 + 2 + 2) * hidden + words  # the bias of each word is counted with them
    counts = {"non_embedding": backbone + transform, "embedding": tables}
    assert scorer.groups().counts() == counts | {"total": sum(counts.values())}


def test_analytic_flops_are_those_counted(tokenizer: Any) -> None:
    scorer = build_scorer(model_of(hidden=32), tokenizer, seed=1, precision="32")
    lengths = np.repeat([WIDTH_MULTIPLE, 3 * WIDTH_MULTIPLE], 16)  # widths without padding
    batch = group_tokens(np.ones(lengths.sum(), dtype=np.int64), lengths, group_cost=0)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        scorer(batch)
    blank = Work(tokens=len(batch.ids) - batch.tokens)  # computed, but no part of the work
    assert counter.get_total_flops() == pytest.approx(scorer.flops(Work.of(batch, FORWARD) + blank), rel=1e-9)
    assert scorer.flops(Work.of(batch, BACKWARD)) == 2 * scorer.flops(Work.of(batch, FORWARD))


def test_sparse_encoder_gives_the_same_vectors(
    scorer: Sparse, texts: list[str], tokenizer: Any, model_folder: Path
) -> None:
    from sentence_transformers import SparseEncoder

    scorer.prompts = ("", "baf: ")
    scorer.export(tokenizer, (8, LENGTH), model_folder)
    loaded = SparseEncoder(str(model_folder), device="cpu")
    with torch.no_grad():
        queries = scorer(batch_of(texts[:9], tokenizer, 8))
        passages = scorer(batch_of([f"baf: {text}" for text in texts[9:20]], tokenizer))
    found = [loaded.encode_query(texts[:9]), loaded.encode_document(texts[9:20])]
    assert_vectors(found[0].to_dense(), queries, SMALL_ROUNDINGS)
    assert_vectors(found[1].to_dense(), passages, SMALL_ROUNDINGS)
    assert loaded.similarity_fn_name == "dot"
    assert_scores(
        loaded.similarity(*found),
        scorer.scores(queries, passages),
        2 * SMALL_ROUNDINGS + len(tokenizer),
        product_scale(queries, passages),
    )
    assert not list(model_folder.rglob("*.bin"))
    again = build_scorer(model_of(init="pretrained", pretrained=str(model_folder)), tokenizer, 9, "32").eval()
    assert torch.equal(again(batch_of(texts[:9], tokenizer, 8)), queries)
    assert again.prompts == ("", "baf: ")
    assert again.groups().counts() == scorer.groups().counts()


def others(folder: Path, scorer: Sparse, tokenizer: Any, **pooling: Any) -> str:
    """A SparseEncoder as its own library makes one."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SpladePooling, Transformer

    scorer.model.save_pretrained(folder / "plain")
    tokenizer.save_pretrained(folder / "plain")
    transformer = Transformer(str(folder / "plain"), transformer_task="fill-mask")
    SparseEncoder(modules=[transformer, SpladePooling(**pooling)]).save(str(folder / "theirs"))
    return str(folder / "theirs")


def test_models_of_others_are_taken_over(
    scorer: Sparse, texts: list[str], tokenizer: Any, tmp_path: Path
) -> None:
    from sentence_transformers import SparseEncoder

    folder = others(tmp_path, scorer, tokenizer, activation_function="log1p_relu")
    for source in (folder, str(tmp_path / "plain")):
        own = build_scorer(model_of(init="pretrained", pretrained=source), tokenizer, 9, "32").eval()
        theirs = SparseEncoder(source, device="cpu").encode_document(texts[:9])
        found = own(batch_of(texts[:9], tokenizer, 512)).detach()
        assert_vectors(found, theirs.to_dense(), SMALL_ROUNDINGS)


def test_what_cannot_be_expressed_is_one_line(scorer: Sparse, tokenizer: Any, tmp_path: Path) -> None:
    folder = others(tmp_path, scorer, tokenizer, pooling_strategy="sum")
    with pytest.raises(ConfigError, match="SpladePooling with sum of relu cannot be trained; give a model"):
        build_scorer(model_of(init="pretrained", pretrained=folder), tokenizer, 9, "32")
    scorer.backbone.save_pretrained(tmp_path / "headless")
    tokenizer.save_pretrained(tmp_path / "headless")
    with pytest.raises(ConfigError, match=r"lacks .* weights of BertForMaskedLM"):
        build_scorer(model_of(init="pretrained", pretrained=str(tmp_path / "headless")), tokenizer, 9, "32")


def test_a_temperature_is_refused_before_training() -> None:
    with pytest.raises(ConfigError, match=r"model\.temperature=0\.5 cannot be exported"):
        validate(composed(*SMALL, "model.family=sparse", "model.temperature=0.5"))
    with pytest.raises(ConfigError, match=r"model\.pooling=cls is not read by model\.family=sparse"):
        validate(composed(*SMALL, "model.family=sparse", "model.pooling=cls"))
    with pytest.raises(ConfigError, match=r"model\.regulariser=l1 is not read by model\.family=dual-encoder"):
        validate(composed(*SMALL, "model.regulariser=l1"))
    assert math.isclose(validate(composed(*SMALL, "model.family=sparse")).model.regularisation_steps, 1 / 3)
