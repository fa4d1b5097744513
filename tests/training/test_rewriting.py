"""Perturbations that write texts anew: typing errors, inserted queries, synonyms of a list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from retrieval.config import PerturbationConfig, StrategyConfig
from retrieval.config.validation import validate
from retrieval.data.batches import RankingBlock, Stream, collate
from retrieval.data.tokens import train_wordpiece
from retrieval.errors import ConfigError
from retrieval.evaluation.draws import allowed
from retrieval.evaluation.variations.typo import character_edits
from retrieval.models.families.dual_encoder import DualEncoder
from retrieval.run.identity import identity
from retrieval.training.adversary import AttackedBatch, Perturbed, Vocabulary
from retrieval.training.losses import ranking_loss
from retrieval.training.objective import Setting, build_objective
from retrieval.training.perturbations.insertion import inserted_queries
from retrieval.training.rewriting import Frame, Spelling, sequences_of
from retrieval.training.strategy import IN_DOMAIN, PERTURBED
from retrieval.training.streams import TrainingData
from tests.end_to_end.conftest import composed
from tests.training.test_perturbation import perturb, sequences

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def speller() -> Any:
    """A tokenizer that knows every letter, at the beginning of a word and inside."""
    return train_wordpiece([*(LETTERS[i:] + LETTERS[:i] for i in range(26)), "bal gum kin"] * 2, 70)


@pytest.fixture
def words(tokenizer: Any) -> Vocabulary:
    return Vocabulary.of(tokenizer)


@pytest.fixture
def spelled(speller: Any) -> Vocabulary:
    return Vocabulary.of(speller)


@pytest.fixture
def batch(data: TrainingData) -> AttackedBatch:
    streams = (Stream(IN_DOMAIN, (data.in_domain,), 6), Stream(PERTURBED, (data.in_domain,), 8, key=2))
    return AttackedBatch.of(collate(streams, seed=1, step=5), PERTURBED)


def test_words_are_read_off_tokens_and_written_again(speller: Any, spelled: Vocabulary) -> None:
    spelling = Spelling(speller, spelled)
    text = "bal , dektu 12 gum"
    ids = speller(text, add_special_tokens=False)["input_ids"]
    assert speller.unk_token_id in ids
    assert [spelling.special[i] for i in ids] == len(ids) * [False]
    found = spelling.words(ids)
    assert [word.text for word in found] == ["bal", "dektu", "gum"]
    assert [ids[word.first : word.stop] for word in found] == spelling.ids(["bal", "dektu", "gum"])
    assert spelling.ids([]) == []


def test_byte_level_tokens_mark_the_space_before_a_word() -> None:
    class Tokenizer:
        all_special_ids = (0,)
        known = ("<s>", "Ġword", "ing", "Ġ,", "Ġ12", "word")

        def get_vocab(self) -> dict[str, int]:
            return {token: index for index, token in enumerate(self.known)}

        def __call__(self, texts: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
            return {"input_ids": [[self.known.index(text.replace(" ", "Ġ"))] for text in texts]}

    spelling = Spelling(Tokenizer(), Vocabulary.of(Tokenizer()))
    assert [word.text for word in spelling.words([1, 2, 3, 1])] == ["wording", "word"]
    assert spelling.ids(["word"]) == [[1]]


def test_a_frame_keeps_special_tokens_and_the_length_of_what_is_filled() -> None:
    special = [True, True, True, *[False] * 20]
    frame = Frame.of([1, 5, 6, 7, 2], special)
    assert frame == Frame([1], [5, 6, 7], [2])
    assert frame.around([8, 9], 6) == [1, 8, 9, 2]
    assert frame.around([5, 6, 7, 8, 9], 6) == [1, 5, 6, 7, 8, 2]
    filled = Frame.of([1, 5, 6, 2, 0, 0], special)
    assert filled.around([5], 6) == [1, 5, 2, 0, 0, 0]
    assert filled.around([5, 6, 7], 6) == [1, 5, 6, 7, 2, 0]
    assert filled.around([5, 6, 7, 8, 9, 10], 6) == [1, 5, 6, 7, 8, 2]


@pytest.mark.parametrize("rate", [0.01, 0.4, 1.0])
@pytest.mark.parametrize("side", ["queries", "passages", "both"])
def test_typing_errors_change_their_side_and_no_more_words_than_the_rate(
    encoder: DualEncoder, speller: Any, spelled: Vocabulary, side: str, rate: float
) -> None:
    # The last of either side is long enough for the others to grow.
    texts = ["balem dektu gumor", "kin balem", "kin " * 20, "fol", "dektu dektu dektu gumor", "fol " * 40]
    ids = [speller(text)["input_ids"] for text in texts]
    seen = perturb("typo", encoder, made(ids[:3], ids[3:]), spelled, tokenizer=speller, side=side, rate=rate)
    after = sequences(seen.tokens)
    assert seen.sizes is not None
    assert seen.sizes.tolist() == [len(own) for own in after]
    for place, (old, new) in enumerate(zip(ids, after, strict=True)):
        own = side == "both" or (side == "queries") == (place < 3)
        before = texts[place].split()
        found = [word.text for word in Spelling(speller, spelled).words(new)]
        assert (new[0], new[-1]) == (old[0], old[-1])
        changed = [(a, b) for a, b in zip(before, found, strict=True) if a != b]
        assert len(changed) == (allowed(rate, sum(len(word) >= 4 for word in before)) if own else 0)
        for a, b in changed:
            assert b in {edit for edits in character_edits(a).values() for edit in edits}


def test_a_text_that_grows_beyond_the_longest_loses_its_end(
    encoder: DualEncoder, speller: Any, spelled: Vocabulary
) -> None:
    ids = [speller(text)["input_ids"] for text in ("balba", "gumgu", "kinki", "balba")]
    for seed in range(20):
        batch = made(ids[:2], ids[2:])
        seen = perturb("typo", encoder, batch, spelled, tokenizer=speller, side="both", seed=seed)
        after = sequences(seen.tokens)
        assert max(map(len, after[:2])) <= max(map(len, ids[:2]))
        assert all(own[-1] == ids[0][-1] for own in after)


def made(queries: list[list[int]], passages: list[list[int]]) -> AttackedBatch:
    """A batch of one block."""
    from retrieval.data.batches import Batch
    from retrieval.data.layout import group_tokens

    count = len(queries)
    sizes = np.array([len(ids) for ids in (*queries, *passages)])
    tokens = group_tokens(np.concatenate([*queries, *passages]), sizes)
    excluded = torch.zeros(count, len(passages), dtype=torch.bool)
    block = RankingBlock(slice(0, count), slice(count, len(sizes)), torch.arange(count), excluded)
    return AttackedBatch.of(Batch(3, tokens, sizes, {PERTURBED: block}, count), PERTURBED)


@pytest.mark.parametrize("inserted", ["query", "keywords"])
def test_every_passage_gets_the_text_of_a_query_that_it_does_not_answer(
    encoder: DualEncoder, tokenizer: Any, words: Vocabulary, inserted: str
) -> None:
    texts = ["bal kin", "gum fol", "dus", "kor bal", "fit", "gum gum gum gum gum gum gum gum gum"]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    seen = perturb(
        "insertion", encoder, made(ids[:3], ids[3:]), words, tokenizer=tokenizer, inserted=inserted
    )
    after = sequences(seen.tokens)
    assert after[:3] == ids[:3]
    special = words.special.tolist()
    queries = [Frame.of(own, special).body for own in ids[:3]]
    used = []
    for own, (old, new) in enumerate(zip(ids[3:], after[3:], strict=True)):
        before, found = Frame.of(old, special).body, Frame.of(new, special).body
        assert len(new) <= max(map(len, ids[3:]))
        if own == 2:
            continue  # the longest loses its end
        for query, body in enumerate(queries):
            if query != own and sorted(found) == sorted(before + kept(tokenizer, words, body, inserted)):
                used.append(query)
                assert inserted == "keywords" or " ".join(map(str, body)) in " ".join(map(str, found))
    assert len(set(used)) == 2


def kept(tokenizer: Any, words: Vocabulary, body: list[int], inserted: str) -> list[int]:
    if inserted == "query":
        return body
    found = Spelling(tokenizer, words).words(body)
    return [token for word in found for token in body[word.first : word.stop]]


def test_mined_negatives_get_their_own_query_and_relevant_passages_none() -> None:
    excluded = torch.zeros(3, 9, dtype=torch.bool)
    excluded[1, 5] = True  # the first negative of the second query is relevant to it
    block = RankingBlock(slice(0, 3), slice(3, 12), torch.arange(3), excluded)
    owners = inserted_queries(block, 3, 9, np.random.default_rng(0))
    assert sorted(owners[:3]) == [0, 1, 2]
    assert all(owner != place for place, owner in enumerate(owners[:3]))
    assert owners[3:] == [0, 0, -1, 1, 2, 2]
    excluded[owners[0], 0] = True
    assert inserted_queries(block, 3, 9, np.random.default_rng(0))[0] == -1
    alone = RankingBlock(slice(0, 1), slice(1, 2), torch.arange(1), torch.zeros(1, 1, dtype=torch.bool))
    assert inserted_queries(alone, 1, 1, np.random.default_rng(0)) == [-1]


@pytest.mark.parametrize("kind", ["typo", "insertion"])
def test_seed_and_step_decide_everything(
    encoder: DualEncoder, speller: Any, spelled: Vocabulary, kind: str
) -> None:
    texts = ["balem dektu", "kin balem", "gumor", "fol balem", "dektu dektu", "mumor " * 9]
    ids = [speller(text)["input_ids"] for text in texts]
    batch, options = made(ids[:3], ids[3:]), {"tokenizer": speller, "rate": 1.0, "side": "both"}
    first, again, other = (perturb(kind, encoder, batch, spelled, seed=s, **options) for s in (1, 1, 2))
    assert sequences(first.tokens) == sequences(again.tokens)
    assert sequences(first.tokens) != sequences(other.tokens)
    assert first.offset is None


def test_clean_pairs_of_the_batch_stay(
    encoder: DualEncoder, batch: AttackedBatch, words: Vocabulary, tokenizer: Any
) -> None:
    after = sequences(perturb("insertion", encoder, batch, words, tokenizer=tokenizer).tokens)
    before, clean, attacked = sequences_of(batch), batch.blocks[IN_DOMAIN], batch.blocks[PERTURBED]
    for span in (clean.queries, clean.passages, attacked.queries):
        assert after[span] == before[span]
    assert after[attacked.passages] != before[attacked.passages]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "synonyms.json"
    path.write_text(json.dumps({"bal": ["ban", "zzzz", "bar"], "gum": {"noun": ["gun"]}, "zzzz": ["bal"]}))
    return path


def test_synonyms_of_the_list_take_the_place_of_words_where_they_raise_the_loss(
    encoder: DualEncoder, tokenizer: Any, words: Vocabulary, listed: Path
) -> None:
    ids = [tokenizer(text)["input_ids"] for text in ("bal", "gum", "bal gum bal kin", "gum gum fol")]
    batch = made(ids[:2], ids[2:])
    seen = perturb("synonyms", encoder, batch, words, tokenizer=tokenizer, synonyms=str(listed), rate=1.0)
    after = sequences(seen.tokens)
    assert after[:2] == ids[:2]
    may = {"bal": {"bal", "ban", "bar"}, "gum": {"gum", "gun"}}
    pairs = [
        (a, b)
        for old, new in zip(ids[2:], after[2:], strict=True)
        for a, b in zip(tokenizer.convert_ids_to_tokens(old), tokenizer.convert_ids_to_tokens(new))
    ]
    assert all(b in may.get(a, {a}) for a, b in pairs)
    assert any(a != b for a, b in pairs)
    # The first-order gain of every chosen word is positive, so a small step towards them raises the loss.
    block, table = batch.blocks[PERTURBED], encoder.word_table.detach()
    places = batch.passages.places
    step = torch.zeros(len(batch.tokens.ids), table.shape[1])
    step[places] = 1e-3 * (table[seen.tokens.ids[places]] - table[batch.tokens.ids[places]])
    with torch.no_grad():
        losses = []
        for offset in (None, step):
            rows = encoder(batch.tokens, offset)
            losses.append(float(ranking_loss(encoder, rows[block.queries], rows[block.passages], block)))
    assert losses[1] > losses[0]


def test_a_list_without_words_of_the_tokenizer_is_refused(
    encoder: DualEncoder, batch: AttackedBatch, tokenizer: Any, words: Vocabulary, tmp_path: Path
) -> None:
    path = tmp_path / "none.json"
    path.write_text('{"zebra": ["horse"]}')
    with pytest.raises(ConfigError, match="no word of the tokenizer has a synonym"):
        perturb("synonyms", encoder, batch, words, tokenizer=tokenizer, synonyms=str(path))


@pytest.mark.parametrize("kind", ["typo", "insertion", "synonyms"])
def test_a_step_is_trained_and_counted_by_what_the_scorer_was_given(
    encoder: DualEncoder, data: TrainingData, tokenizer: Any, listed: Path, kind: str
) -> None:
    config = StrategyConfig(name="adversarial", mixing="loss")
    config.perturbation = PerturbationConfig(kind=kind, rate=1.0, synonyms=str(listed))
    objective = build_objective(config, Setting(seed=7, tokenizer=tokenizer))
    streams = (Stream(IN_DOMAIN, (data.in_domain,), 6), Stream(PERTURBED, (data.in_domain,), 8, key=2))
    batch = objective.prepare(collate(streams, seed=1, step=5))
    losses = objective.losses(encoder, batch)
    losses.total.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in encoder.parameters())
    assert objective.perturbation is not None
    seen: Perturbed = objective.perturbation(encoder, batch)  # type: ignore[arg-type]
    found = (encoder.encoding_work(seen.sized(batch).sizes) * 3).tokens
    assert (losses.work.tokens == found) == (kind != "synonyms")
    assert objective.result()["perturbation/kind"] == kind


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["strategy.perturbation.kind=synonyms"],
            "kind=synonyms needs a list of words; set strategy",
        ),
        (
            ["strategy.perturbation.kind=synonyms", "strategy.perturbation.synonyms=no.json"],
            "strategy.perturbation.synonyms=no.json: no such file",
        ),
        (["strategy.perturbation.side=titles"], "side=titles is not known; valid: queries, passages, both"),
        (
            ["strategy.perturbation.kind=insertion", "trainer.devices=2"],
            "strategy.perturbation.kind=insertion works on one device",
        ),
    ],
)
def test_mistakes_in_the_configuration(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(composed("strategy=adversarial", *overrides))


def test_later_keys_count_where_they_are_set() -> None:
    def of(*overrides: str) -> dict[str, Any]:
        found: dict[str, Any] = identity(composed("strategy=adversarial", *overrides), "f")["strategy"][
            "perturbation"
        ]
        return found

    assert set(of()) == {"kind", "epsilon", "steps", "rate", "neighbours"}
    assert of("strategy.perturbation.side=both") == {**of(), "side": "both"}
