"""Denoising: margins by hand, teachers against their models, and what is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.config import DenoiseConfig
from retrieval.data.collection import Collection, open_collection
from retrieval.data.negatives import NegativeLists
from retrieval.data.tokens import train_wordpiece
from retrieval.errors import ConfigError, ParetrieveError
from retrieval.models.scores import InnerProducts
from retrieval.search import denoising
from retrieval.search.denoising import denoise, judge, thresholds
from retrieval.search.loading import load_teacher
from retrieval.search.mining import mine
from retrieval.search.retriever import Retriever
from tests.data.conftest import WriteCollection
from tests.rounding import encoder_roundings, gamma

PASSAGES = {
    f"p{number}": text
    for number, text in enumerate(
        ["red apple pie", "green apple pie", "apple", "red car", "green car pie", "blue boat", "red red boat"]
    )
}
QUERIES = {"q0": "red apple", "q1": "car pie", "q2": "boat"}
JUDGED = {"train": [("q0", "p0", 1), ("q0", "p2", 1), ("q1", "p4", 1), ("q2", "p5", 1)]}
BOUND = 2 * gamma(encoder_roundings(layers=1, hidden=16, tokens=10) + 16)
"""How far rounding may put products of vectors of :func:`small_bert` apart, relative to their lengths."""


@pytest.fixture
def garage(write_collection: WriteCollection, tmp_path: Path) -> Collection:
    folder = write_collection("garage", PASSAGES, QUERIES, **JUDGED)
    return open_collection(folder, tmp_path / "cache")


@pytest.mark.parametrize(
    ("margin", "value", "expected"),
    [
        ("absolute", 1.0, [1.0, -3.0, 9.0]),
        ("relative", 0.25, [1.5, -2.5, 7.5]),
        ("percentile", 0.5, [2.0, 2.0, 2.0]),
        ("percentile", 0.0, [-2.0, -2.0, -2.0]),
    ],
)
def test_thresholds_by_hand(margin: str, value: float, expected: list[float]) -> None:
    positives = np.array([2.0, -2.0, 10.0], np.float32)
    assert thresholds(positives, DenoiseConfig("bm25", margin, value)).tolist() == expected


@given(st.floats(-100, 100, width=32), st.floats(0, 1))
def test_a_relative_margin_is_never_above_the_positive(positive: float, value: float) -> None:
    [limit] = thresholds(np.array([positive], np.float32), DenoiseConfig("bm25", "relative", value))
    assert limit <= np.float32(positive)


def test_negatives_above_the_threshold_are_dropped_and_counted(garage: Collection, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    mined = mine(garage, "bm25", 5, cache)
    lists = NegativeLists.open(mined)
    index = load_teacher(garage, "bm25", cache).scores
    # q0 has two positives: the one that scores lower sets the threshold.
    both = index.matrix(np.array([0]), np.array([0, 2]))[0]
    assert both[1] < both[0]
    positives = [
        both[1],
        *(float(index.pairs(np.array([q]), np.array([p]))[0]) for q, p in [(1, 4), (2, 5)]),
    ]
    denoised = NegativeLists.open(denoise(mined, garage, DenoiseConfig("bm25", "absolute", 0.1), cache))
    for query, positive in enumerate(positives):
        listed = lists.rows[query] >= 0
        kept = lists.rows[query][listed & (lists.scores[query] <= positive - 0.1)].tolist()
        assert denoised.rows[query].tolist() == (kept + [-1] * 5)[:5]
    dropped = int((lists.rows >= 0).sum() - (denoised.rows >= 0).sum())
    assert denoised.counts["judged"] == int((lists.rows >= 0).sum())
    assert denoised.counts["denoised"] == dropped
    assert 0 < dropped < denoised.counts["judged"]
    assert denoised.counts["filtered_relevant"] == lists.counts["filtered_relevant"]


def test_another_margin_needs_no_second_judgement(
    garage: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    mined = mine(garage, "bm25", 5, cache)
    first = denoise(mined, garage, DenoiseConfig(value=0.05), cache)
    monkeypatch.setattr(denoising, "load_teacher", lambda *_: pytest.fail("judged again"))
    second = denoise(mined, garage, DenoiseConfig(value=1.0), cache)
    assert first != second
    # At a relative margin of one only passages of score zero would stay; BM25 lists hold none.
    assert (NegativeLists.open(second).rows < 0).all()
    counts = NegativeLists.open(second).counts
    assert counts["emptied_lists"] == counts["empty_lists"] == 3


@pytest.mark.parametrize(
    "config",
    [
        DenoiseConfig("a teacher", "percentile", 95.0),
        DenoiseConfig("bm25", "percentile", 0.5),
    ],
)
def test_a_margin_that_makes_no_sense_is_refused(
    garage: Collection, tmp_path: Path, config: DenoiseConfig
) -> None:
    with pytest.raises(ConfigError, match="percentile"):
        denoise(tmp_path, garage, config, tmp_path / "cache")


def test_scores_that_are_not_finite_are_refused(
    garage: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Retriever):
        scores = InnerProducts()

        def encode(self, collection: Collection, side: str, rows: np.ndarray) -> np.ndarray:
            return np.full((len(rows), 2), np.nan, np.float32)

    monkeypatch.setattr(denoising, "load_teacher", lambda *_: Broken())
    lists = NegativeLists.open(mine(garage, "bm25", 5, tmp_path / "cache"))
    target = tmp_path / "judged"
    target.mkdir()
    with pytest.raises(ParetrieveError, match="NaN or infinity"):
        judge(lists, garage, "a teacher", target, tmp_path / "cache")


def tokenizer_of():  # type: ignore[no-untyped-def]
    return train_wordpiece([*PASSAGES.values(), *QUERIES.values()], 120)


def small_bert(tokenizer, **options):  # type: ignore[no-untyped-def]
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )


@pytest.fixture
def cross_encoder(tmp_path: Path) -> str:
    """A folder as the ``transformers`` library writes one, with random weights."""
    import torch
    from transformers import BertForSequenceClassification

    tokenizer = tokenizer_of()
    torch.manual_seed(0)
    model = BertForSequenceClassification(small_bert(tokenizer, num_labels=1, initializer_range=0.5))
    folder = tmp_path / "cross-encoder"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def bi_encoder(tmp_path: Path) -> str:
    """A sentence-transformers folder with random weights."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertModel

    tokenizer, source = tokenizer_of(), tmp_path / "source"
    BertModel(small_bert(tokenizer, initializer_range=0.5)).save_pretrained(source)
    tokenizer.save_pretrained(source)
    model = SentenceTransformer(modules=[Transformer(str(source)), Pooling(16)], device="cpu")
    folder = tmp_path / "bi-encoder"
    model.save(str(folder), create_model_card=False)
    return str(folder)


def test_a_cross_encoder_scores_as_it_does_by_itself(
    garage: Collection, cross_encoder: str, tmp_path: Path
) -> None:
    from sentence_transformers import CrossEncoder

    teacher = load_teacher(garage, cross_encoder, tmp_path / "cache")
    columns = np.array([[5, -1, 3], [0, 1, 5]])
    found = teacher.scores.listed(np.array([2, 0]), np.arange(len(PASSAGES)), columns)
    texts, queries = list(PASSAGES.values()), list(QUERIES.values())
    expected = CrossEncoder(cross_encoder).predict(
        [(queries[2], texts[5]), (queries[2], texts[3]), *((queries[0], texts[row]) for row in (0, 1, 5))]
    )
    assert np.isneginf(found[0, 1])
    np.testing.assert_allclose(found[[0, 0, 1, 1, 1], [0, 2, 0, 1, 2]], expected, atol=1e-5)


def test_a_bi_encoder_mines_and_judges_by_its_similarity(
    garage: Collection, bi_encoder: str, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(bi_encoder)
    vectors = [model.encode(list(texts.values()), normalize_embeddings=True) for texts in (QUERIES, PASSAGES)]
    similarity = vectors[0] @ vectors[1].T
    relevant = {(int(query[1:]), int(passage[1:])) for query, passage, _ in JUDGED["train"]}
    cache = tmp_path / "cache"
    mined = mine(garage, bi_encoder, 4, cache)
    lists = NegativeLists.open(mined)
    for query, row in enumerate(lists.rows.tolist()):
        irrelevant = {passage for passage in range(len(PASSAGES)) if (query, passage) not in relevant}
        assert len(row) == len(set(row) & irrelevant) == 4
        # Passages of similarities that rounding may put in either order are as good as each other.
        best = -np.sort(-similarity[query, sorted(irrelevant)])[:4]
        np.testing.assert_allclose(similarity[query, row], best, rtol=0, atol=2 * BOUND)
    np.testing.assert_allclose(
        lists.scores, np.take_along_axis(similarity, lists.rows.astype(int), axis=1), rtol=0, atol=BOUND
    )
    target = tmp_path / "judged"
    target.mkdir()
    judge(lists, garage, bi_encoder, target, cache)
    np.testing.assert_allclose(np.load(target / "negatives.npy"), lists.scores, rtol=0, atol=BOUND)
    lowest = [min(similarity[query, passage] for query, passage in relevant if query == q) for q in range(3)]
    np.testing.assert_allclose(np.load(target / "positives.npy"), lowest, rtol=0, atol=BOUND)
    assert {path.name for path in target.iterdir()} == {"negatives.npy", "positives.npy"}


def test_a_run_mines_with_its_encoder_whose_scores_are_inner_products(
    garage: Collection, bi_encoder: str, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    run = tmp_path / "run"
    run.mkdir()
    Path(bi_encoder).rename(run / "model")
    model = SentenceTransformer(str(run / "model"))
    queries, passages = model.encode(list(QUERIES.values())), model.encode(list(PASSAGES.values()))
    products = queries @ passages.T
    lists = NegativeLists.open(mine(garage, str(run), 3, tmp_path / "cache"))
    lengths = np.linalg.norm(queries, axis=1).max() * np.linalg.norm(passages, axis=1).max()
    found = np.take_along_axis(products, lists.rows.astype(int), axis=1)
    np.testing.assert_allclose(lists.scores, found, rtol=0, atol=BOUND * lengths)
