"""Sentence-transformers models under attack: the same as the encoder they were exported from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.config import AttackConfig
from retrieval.errors import ConfigError
from retrieval.evaluation.adversarial.evaluation import AttackEvaluation
from retrieval.evaluation.attacks.typo import TypoConfig, TypoOptions
from retrieval.evaluation.stitching.options import ParagraphConfig, ParagraphOptions
from retrieval.search.loading import load_retriever
from retrieval.search.sentence_transformer import SentenceTransformerRetriever, sentence_transformer_retriever
from tests.evaluation.attack_setup import (
    COMMON,
    EVALUATION,
    PASSAGE_LENGTH,
    SYNONYMS,
    WORDS,
    Setup,
    make_setup,
)
from tests.rounding import assert_gradients, assert_scores, assert_vectors

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return make_setup(tmp_path_factory.mktemp("attack") / "collection")


@pytest.fixture(scope="module")
def run(setup: Setup, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    setup.encoder.export(setup.tokenizer, (PASSAGE_LENGTH, PASSAGE_LENGTH), folder / "model")
    return folder


def test_an_exported_encoder_is_attacked_alike(setup: Setup, run: Path) -> None:
    exported = load_retriever(str(run))
    texts = ["bal dem bal fir", "gos", " ".join(SYNONYMS)]
    found = exported.encode_texts(texts, "passages")
    assert_vectors(found, setup.model.encode_texts(texts, "passages"), setup.roundings)
    assert exported.tokens(texts) == setup.model.tokens(texts)
    pairs = zip(
        exported.gradients(texts, setup.query_vectors[:3]),
        setup.model.gradients(texts, setup.query_vectors[:3]),
        strict=True,
    )
    for found, expected in pairs:
        assert np.array_equal(found.ids, expected.ids)
        assert np.array_equal(found.spans, expected.spans)
        assert_gradients([found.gradients], [expected.gradients], setup.roundings)
    words, vectors = exported.word_embeddings()
    assert words == setup.model.word_embeddings()[0]
    assert np.array_equal(vectors, setup.model.word_embeddings()[1])


def test_a_surrogate_of_the_same_weights_finds_the_same_with_fewer_questions(setup: Setup, run: Path) -> None:
    for synonyms in (str(setup.synonyms), "embedding"):
        options: dict[str, Any] = {"synonyms": synonyms, "queries": 2, "candidates": 3}
        white, transfer = setup.attack(**options), setup.attack(**options, surrogate=str(run))
        assert [e.new_text for e in white.attacked] == [e.new_text for e in transfer.attacked]
        asked = white.metrics["adv/queries"] - transfer.metrics["adv/queries"]
        assert asked == white.metrics["adv/targets"]


@pytest.mark.parametrize(
    "config",
    [
        TypoConfig(name="typo", typo=TypoOptions(characters=2, tries=4, candidates=3), **COMMON),
        ParagraphConfig(name="paragraph", paragraph=ParagraphOptions(sentences=2, candidates=3), **COMMON),
    ],
)
def test_other_attacks_ask_less_with_a_surrogate(tmp_path: Path, config: AttackConfig) -> None:
    # Words of three letters get no typing error.
    setup = make_setup(tmp_path / "collection", [f"{word}o" for word in WORDS])
    setup.encoder.export(setup.tokenizer, (PASSAGE_LENGTH, PASSAGE_LENGTH), tmp_path / "model")
    surrogate = replace(config, surrogate=str(tmp_path / "model"))  # type: ignore[call-arg]
    white, black = setup.attacked(config), setup.attacked(surrogate)
    queries = f"adv/{config.name}/queries"
    assert 0 < black.metrics[queries] < white.metrics[queries]
    # The surrogate has the same weights, so that what it puts first helps, too.
    assert black.metrics[f"adv/{config.name}/rank_boost"] > 0


def test_a_named_model_judges_similarity(setup: Setup, run: Path) -> None:
    own = setup.attack(queries=2, similarity=0.9)
    named = setup.attack(queries=2, similarity=0.9, similarity_model=str(run))
    assert [e.new_text for e in own.attacked] == [e.new_text for e in named.attacked]
    # A mean of cosines: of both texts' vectors, their lengths and their product.
    roundings = 2 * setup.roundings + 3 * setup.passage_vectors.shape[1]
    assert_scores(named.metrics["adv/similarity"], own.metrics["adv/similarity"], roundings, 1)


def test_a_prompt_is_no_part_of_the_passage(setup: Setup, run: Path) -> None:
    plain, prompted = load_retriever(str(run)), load_retriever(str(run))
    prompted.model.prompts["document"] = "tell bal: "
    options: dict[str, Any] = {"normalize": False, "temperature": 1.0, "batch_size": 64, "block": 100}
    prompted = SentenceTransformerRetriever(prompted.model, **options)
    text = "bal dem fir"
    (found,) = prompted.gradients([text], setup.query_vectors[:1])
    assert [text[a:b] for a, b in found.spans] == ["bal", "dem", "fir"]
    (other,) = plain.gradients([text], setup.query_vectors[:1])
    assert np.array_equal(found.ids, other.ids)
    assert not np.allclose(found.gradients, other.gradients)


def test_a_model_without_transformer_needs_a_surrogate_or_random_order(setup: Setup, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    weights = np.random.default_rng(0).normal(size=(len(setup.tokenizer), 16)).astype(np.float32)
    module = StaticEmbedding(setup.tokenizer, embedding_weights=weights)
    folder = tmp_path / "static"
    SentenceTransformer(modules=[module], similarity_fn_name="dot", device="cpu").save(
        str(folder), create_model_card=False
    )
    model = sentence_transformer_retriever(folder)
    part = setup.part
    rows = (("queries", part.query_rows), ("passages", part.passage_rows))
    vectors = tuple(model.encode(part.collection, side, own) for side, own in rows)
    with pytest.raises(ConfigError, match=r"no transformer with word embeddings; set attack\.surrogate"):
        _load(setup).run(model, setup.part, vectors, EVALUATION)
    found = _load(setup, importance="random").run(model, setup.part, vectors, EVALUATION)
    assert found.metrics["adv/success_rate"] > 0.5


def _load(setup: Setup, **changes: Any) -> AttackEvaluation:
    attack = AttackEvaluation.load(setup.config(**changes))
    assert attack is not None
    return attack
