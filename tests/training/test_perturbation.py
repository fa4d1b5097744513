from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from retrieval.config import PerturbationConfig
from retrieval.config.strategy import PERTURBATIONS
from retrieval.data.batches import Stream, collate
from retrieval.data.layout import TokenBatch
from retrieval.errors import ConfigError
from retrieval.models.families.dual_encoder import DualEncoder
from retrieval.training.adversary import (
    Adversary,
    AttackedBatch,
    Part,
    Perturbed,
    Vocabulary,
    ascend,
    passage_norms,
)
from retrieval.training.strategy import IN_DOMAIN, PERTURBED
from retrieval.training.streams import TrainingData
from tests.rounding import assert_vectors, encoder_roundings, gamma, product_bound

KINDS = ("fgsm", "noise", "pgd", "substitution")
"""Those that keep the tokens of a batch in their places, and read no list."""
ROUNDINGS = encoder_roundings(layers=2, hidden=32, tokens=32)


@pytest.fixture
def words(tokenizer: Any) -> Vocabulary:
    return Vocabulary.of(tokenizer)


@pytest.fixture
def batch(data: TrainingData) -> AttackedBatch:
    streams = (Stream(IN_DOMAIN, (data.in_domain,), 6), Stream(PERTURBED, (data.in_domain,), 8, key=2))
    return AttackedBatch.of(collate(streams, seed=1, step=5), PERTURBED)


def perturb(
    kind: str, encoder: DualEncoder, batch: AttackedBatch, words: Vocabulary, **options: Any
) -> Perturbed:
    seed, tokenizer = options.pop("seed", 7), options.pop("tokenizer", None)
    config = PerturbationConfig(kind=kind, **options)
    found: Perturbed = PERTURBATIONS[kind](config, words, seed, tokenizer)(encoder, batch)
    return found


def table(encoder: DualEncoder) -> Tensor:
    weight: Tensor = encoder.backbone.get_input_embeddings().weight.detach()  # type: ignore[operator]
    return weight


def sequences(tokens: TokenBatch, ids: Tensor | None = None) -> list[list[int]]:
    """Token ids of every sequence in the caller's order, without padding."""
    flat = tokens.ids if ids is None else ids
    rows = np.split(flat[: tokens.tokens].numpy(), tokens.starts()[1:-1])
    return [rows[place].tolist() for place in tokens.inverse.tolist()]


@pytest.mark.parametrize("span", [slice(0, 1), slice(3, 12), slice(12, 28)])
def test_a_part_is_encoded_as_it_is_within_the_whole(
    encoder: DualEncoder, batch: AttackedBatch, span: slice
) -> None:
    part = Part.of(batch, span)
    assert sequences(part.tokens) == sequences(batch.tokens)[span]
    assert torch.equal(batch.tokens.ids[part.places], part.tokens.ids[: part.tokens.tokens])
    assert part.tokens.tokens == sum(map(len, sequences(part.tokens)))
    with torch.no_grad():
        assert_vectors(encoder(part.tokens), encoder(batch.tokens)[span], ROUNDINGS)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("epsilon", [1e-3, 0.5, 3.0])
def test_the_norm_of_every_passages_offset_keeps_the_bound(
    encoder: DualEncoder, batch: AttackedBatch, words: Vocabulary, epsilon: float, steps: int
) -> None:
    adversary = Adversary(encoder, batch, words)
    offset = ascend(adversary, table(encoder), epsilon, steps)
    free = adversary.free
    bound = epsilon * table(encoder)[adversary.tokens.ids][free].norm(dim=1).mean()
    norms = passage_norms(offset, adversary.tokens)[: adversary.tokens.tokens]
    assert (norms <= bound * (1 + 1e-5)).all()
    if steps == 1:
        torch.testing.assert_close(norms, bound.expand_as(norms), rtol=1e-4, atol=0)
    assert (offset[~free] == 0).all()


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_the_loss_rises_as_its_gradient_says(
    encoder: DualEncoder, batch: AttackedBatch, words: Vocabulary, kind: str
) -> None:
    adversary = Adversary(encoder, batch, words)
    zero = torch.zeros(len(adversary.tokens.ids), table(encoder).shape[1])
    gradient = adversary.gradient(zero)
    epsilon = 0.02
    seen = perturb(kind, encoder, batch, words, epsilon=epsilon)
    assert seen.offset is not None
    with torch.no_grad():
        before = adversary.loss(zero)
        offset = zero.index_copy(
            0, torch.arange(len(batch.passages.places)), seen.offset[batch.passages.places]
        )
        after = adversary.loss(offset)
    bound = epsilon * table(encoder)[adversary.tokens.ids][adversary.free].norm(dim=1).mean()
    places = torch.from_numpy(adversary.tokens.starts()[:-1])
    expected = bound * passage_norms(gradient, adversary.tokens)[places].sum()
    assert after > before
    assert float(after - before) == pytest.approx(float(expected), rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_queries_specials_and_clean_passages_stay(
    encoder: DualEncoder, batch: AttackedBatch, words: Vocabulary, kind: str
) -> None:
    seen = perturb(kind, encoder, batch, words)
    before, after = sequences(batch.tokens), sequences(seen.tokens)
    attacked = range(batch.blocks[PERTURBED].passages.start, batch.blocks[PERTURBED].passages.stop)
    assert [after[i] for i in range(len(before)) if i not in attacked] == [
        before[i] for i in range(len(before)) if i not in attacked
    ]
    special = words.special[batch.tokens.ids]
    assert torch.equal(seen.tokens.ids[special], batch.tokens.ids[special])
    if seen.offset is not None:
        outside = torch.ones(len(special), dtype=torch.bool)
        outside[batch.passages.places] = False
        assert (seen.offset[outside | special] == 0).all()
        assert (seen.offset[~outside] != 0).any()
    else:
        assert any(after[i] != before[i] for i in attacked)


@pytest.mark.parametrize("kind", KINDS)
def test_no_parameter_gets_a_gradient(
    encoder: DualEncoder, batch: AttackedBatch, words: Vocabulary, kind: str
) -> None:
    perturb(kind, encoder, batch, words)
    assert all(parameter.grad is None for parameter in encoder.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_seed_and_step_decide_everything(
    encoder: DualEncoder, batch: AttackedBatch, words: Vocabulary, kind: str
) -> None:
    first, again = (perturb(kind, encoder, batch, words) for _ in range(2))
    assert torch.equal(first.tokens.ids, again.tokens.ids)
    assert first.offset is None or torch.equal(first.offset, again.offset)  # type: ignore[arg-type]
    if kind == "noise":
        assert not torch.equal(first.tokens.ids, perturb(kind, encoder, batch, words, seed=8).tokens.ids)


@pytest.mark.parametrize("rate", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["substitution", "noise"])
def test_only_whole_words_are_replaced_and_no_more_than_the_rate(
    encoder: DualEncoder, batch: AttackedBatch, words: Vocabulary, kind: str, rate: float
) -> None:
    seen = perturb(kind, encoder, batch, words, rate=rate)
    before, after = sequences(batch.tokens), sequences(seen.tokens)
    changed = 0
    for old, new in zip(before, after, strict=True):
        # A word that the next token continues is no word by itself.
        whole = [
            bool(words.whole[token]) and not (i + 1 < len(old) and bool(words.continues[old[i + 1]]))
            for i, token in enumerate(old)
        ]
        different = [i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
        assert all(whole[i] and bool(words.whole[new[i]]) for i in different)
        assert len(different) <= max(1, round(rate * sum(whole)))
        changed += len(different)
    assert changed > 0


def test_substitutes_are_near_words_that_raise_the_loss(
    encoder: DualEncoder, batch: AttackedBatch, words: Vocabulary
) -> None:
    neighbours = 4
    adversary = Adversary(encoder, batch, words)
    embeddings = table(encoder)
    gradient = adversary.gradient(torch.zeros(len(adversary.tokens.ids), embeddings.shape[1]))
    seen = perturb("substitution", encoder, batch, words, neighbours=neighbours)
    new, old = seen.tokens.ids[batch.passages.places], adversary.tokens.ids
    places = (new != old[: len(new)]).nonzero()[:, 0].tolist()
    assert places
    # Rounding may put a cosine, a product and two norms, this far off: words closer than that are as near.
    bound = 2 * gamma(3 * embeddings.shape[1])
    for place in places:
        similarity = F.cosine_similarity(embeddings[words.choices], embeddings[old[place]], dim=1)
        similarity[words.choices == old[place]] = -2
        last, beyond = similarity.topk(neighbours + 1).values[-2:].tolist()
        chosen = words.choices == new[place]
        assert float(similarity[chosen]) >= last - bound
        steps = embeddings[words.choices] - embeddings[old[place]]
        gains, off = steps @ gradient[place], product_bound(steps, gradient[place, None])[:, 0].max()
        assert float(gains[chosen]) >= float(gains[similarity > beyond + bound].max()) - 2 * off
        assert float(gains[chosen]) > 0


def test_words_of_the_three_families_of_tokenizers() -> None:
    class Tokenizer:
        all_special_ids = (0,)

        def __init__(self, *tokens: str) -> None:
            self.tokens = tokens

        def get_vocab(self) -> dict[str, int]:
            return {token: index for index, token in enumerate(self.tokens)}

    for tokens in (
        # A text about tokenizers brings the marks of others into a vocabulary.
        ("[CLS]", "word", "##ing", ",", "12", "##ed", "▁"),
        ("<s>", "▁word", "ing", "▁,", "▁12", "ed", "▁##"),
        ("<s>", "Ġword", "ing", "Ġ,", "Ġ12", "ed", "Ġ▁"),
    ):
        found = Vocabulary.of(Tokenizer(*tokens))
        assert found.whole.nonzero()[:, 0].tolist() == [1]
        assert found.continues.nonzero()[:, 0].tolist() == [2, 5]
        assert found.special.nonzero()[:, 0].tolist() == [0]


def test_a_vocabulary_without_words_is_refused() -> None:
    nothing = Vocabulary(
        *(torch.zeros(3, dtype=torch.bool) for _ in range(3)), torch.zeros(0, dtype=torch.int64)
    )
    with pytest.raises(ConfigError, match=r"strategy\.perturbation\.kind=noise"):
        PERTURBATIONS["noise"](PerturbationConfig(kind="noise"), nothing, 1, None)
