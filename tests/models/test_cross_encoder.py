"""``cross-encoder``: pairs as a library reads them, gradients, work, exported folders."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder as Library
from tokenizers.processors import RobertaProcessing
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForSequenceClassification, RobertaConfig
from transformers import RobertaForSequenceClassification as Roberta

from retrieval.config import ModelConfig
from retrieval.data.batches import RankingBlock
from retrieval.data.layout import TokenBatch, group_tokens
from retrieval.errors import ConfigError
from retrieval.models.families import build_scorer
from retrieval.models.families.cross_encoder import CrossEncoder
from retrieval.models.pairs import Template
from retrieval.training.losses import ranking_loss
from tests.models.conftest import PAIR_ROUNDINGS, SMALL_ROUNDINGS, pair_scale
from tests.rounding import assert_entropies, assert_gradients, assert_scores

LENGTHS = (16, 40)


def cross_encoder(tokenizer: Any, precision: str = "32", **changes: Any) -> CrossEncoder:
    values: dict[str, Any] = {"layers": 2, "hidden": 64, "heads": 2, "init": "scratch", **changes}
    config = ModelConfig(family="cross-encoder", **values)
    scorer: CrossEncoder = build_scorer(config, tokenizer, seed=3, precision=precision)  # type: ignore[assignment]
    with torch.no_grad():
        # As after training: scores of a new model are all alike.
        for name, weight in scorer.model.named_parameters():
            if name.endswith("dense.weight") or name.startswith("classifier.weight"):
                weight.normal_(0, 0.2)
    return scorer.eval()


def batch_of(texts: list[str], tokenizer: Any, length: int) -> TokenBatch:
    encoded = tokenizer(texts, truncation=True, max_length=length)["input_ids"]
    return group_tokens(np.concatenate(encoded), np.array([len(ids) for ids in encoded]), group_cost=8)


def rows_of(scorer: Any, tokenizer: Any, queries: list[str], passages: list[str]) -> Any:
    return [
        scorer(batch_of(texts, tokenizer, length))
        for texts, length in zip((queries, passages), LENGTHS, strict=True)
    ]


def block_of(count: int, hard: int = 0) -> RankingBlock:
    excluded = torch.zeros(count, count * (1 + hard), dtype=torch.bool)
    return RankingBlock(slice(0, count), slice(count, count * (2 + hard)), torch.arange(count), excluded)


def split(texts: list[str]) -> tuple[list[str], list[str]]:
    queries = [" ".join(text.split()[:6]) for text in texts[:20]]
    return queries, texts[20:40]


@torch.no_grad()
def test_scores_are_those_of_the_transformers_model(texts: list[str], tokenizer: Any) -> None:
    scorer = cross_encoder(tokenizer, temperature=0.5)
    queries, passages = split(texts)
    rows = rows_of(scorer, tokenizer, queries, passages)
    joining = scorer.template.joining(tokenizer)
    expected = np.empty((20, 20))
    for index, query in enumerate(queries):
        pairs = joining(
            [query] * 20, passages, padding=True, truncation=True, max_length=200, return_tensors="pt"
        )
        assert pairs["token_type_ids"].max() == 1
        expected[index] = scorer.model(**pairs).logits[:, 0] / 0.5  # type: ignore[operator]
    assert expected.std() > 0.05
    alike = partial(assert_scores, roundings=PAIR_ROUNDINGS, scale=pair_scale(scorer, *rows))
    alike(scorer.scores(*rows), expected)
    alike(scorer.pair_scores(*rows), np.diag(expected))
    columns = np.array([[3, -1, 19]] * 20)
    listed = scorer.listed_scores(*rows, columns).numpy()
    assert np.isneginf(listed[:, 1]).all()
    alike(listed[:, [0, 2]], expected[:, [3, 19]])
    host = scorer.host_scores()
    sides = [scorer.to_host(side) for side in rows]
    alike(host.listed(*sides, columns)[:, [0, 2]], expected[:, [3, 19]])
    alike(host.pairs(*sides), np.diag(expected))
    assert host.work.sequences == 2 * 20 + 20


@pytest.mark.parametrize("longest", [7, 8, 20, 31])
def test_long_pairs_are_cut_as_the_library_cuts_them(texts: list[str], tokenizer: Any, longest: int) -> None:
    template = Template.of(tokenizer)
    assert (template.known, template.single, template.specials) == (False, (1, 1), 3)
    joining = template.joining(tokenizer)
    assert Template.of(joining) == Template(**{**vars(template), "known": True})
    first, second = texts[:60], texts[60:120]
    sizes = [np.array([len(ids) for ids in tokenizer(side)["input_ids"]]) for side in (first, second)]
    kept = template.lengths(*sizes, longest)
    ids = joining(first, second, truncation=True, max_length=longest)
    for row in range(60):
        owners = ids.sequence_ids(row)
        assert (owners.count(0), owners.count(1)) == (kept[0][row], kept[1][row])


def test_a_roberta_joins_pairs_its_own_way(texts: list[str], tokenizer: Any, tmp_path: Path) -> None:
    special = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[SEP]", "[CLS]")]
    other = Template.of(tokenizer).joining(tokenizer)
    other.backend_tokenizer.post_processor = RobertaProcessing(*special, trim_offsets=False)
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, num_labels=1, pad_token_id=0, max_position_embeddings=130, type_vocab_size=1,
    )  # fmt: skip
    torch.manual_seed(5)
    Roberta(config).save_pretrained(tmp_path)
    other.save_pretrained(tmp_path)
    scorer = build_scorer(
        ModelConfig(family="cross-encoder", init="pretrained", pretrained=str(tmp_path)), other, 1, "32"
    ).eval()
    assert not scorer.packed
    queries, passages = split(texts)
    rows = rows_of(scorer, other, queries, passages)
    with torch.no_grad():
        found = scorer.pair_scores(*rows).numpy()
    expected = Library(str(tmp_path), device="cpu", activation_fn=torch.nn.Identity()).predict(
        list(zip(queries, passages, strict=True))
    )
    assert_scores(found, expected, PAIR_ROUNDINGS, pair_scale(scorer, *rows))


@pytest.mark.parametrize("architecture", ["distilbert", "llama", "modernbert"])
def test_other_architectures_score_by_their_own_classifier(
    texts: list[str], tokenizer: Any, architecture: str
) -> None:
    config = ModelConfig(
        family="cross-encoder", architecture=architecture, layers=2, hidden=32, heads=2, init="scratch"
    )
    scorer: CrossEncoder = build_scorer(config, tokenizer, seed=3, precision="32").eval()  # type: ignore[assignment]
    queries, passages = split(texts)
    batch = batch_of(passages, tokenizer, LENGTHS[1])
    offset = torch.zeros(len(batch.ids), 32, requires_grad=True)
    query = scorer(batch_of(queries, tokenizer, LENGTHS[0]))
    found = scorer.pair_scores(query, scorer(batch, offset))
    scale = pair_scale(scorer, query, scorer(batch))
    (gradient,) = torch.autograd.grad(found.sum(), offset)
    assert float(gradient[batch.real].abs().sum()) > 0
    joining = scorer.template.joining(tokenizer)
    with torch.no_grad():
        expected = [
            # One pair at a time: padding cannot matter.
            scorer.model(
                **joining(*pair, truncation="only_second", max_length=53, return_tensors="pt")
            ).logits  # type: ignore[operator]
            for pair in zip(queries, passages, strict=True)
        ]
    assert max(len(ids) for ids in joining(queries)["input_ids"]) <= LENGTHS[0]
    shorter = [row for row, ids in enumerate(tokenizer(passages)["input_ids"]) if len(ids) <= LENGTHS[1]]
    assert len(shorter) > 4
    assert_scores(found[shorter], torch.cat(expected)[shorter, 0], PAIR_ROUNDINGS, scale)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_offsets_move_scores_with_a_gradient(texts: list[str], tokenizer: Any, precision: str) -> None:
    scorer = cross_encoder(tokenizer, precision)
    queries, passages = split(texts)
    batch = batch_of(passages, tokenizer, LENGTHS[1])
    offset = (0.1 * torch.randn(len(batch.ids), 64)).requires_grad_()
    with torch.no_grad():
        query = scorer(batch_of(queries, tokenizer, LENGTHS[0]))
        plain = scorer.pair_scores(query, scorer(batch))
        none = scorer.pair_scores(query, scorer(batch, torch.zeros(len(batch.ids), 64)))
    torch.testing.assert_close(none, plain, rtol=0, atol=1e-6 if precision == "32" else 0.02)
    moved = scorer.pair_scores(query, scorer(batch, offset))
    assert (moved - plain).abs().max() > 1e-3
    (gradient,) = torch.autograd.grad(moved.sum(), offset)
    assert bool(
        (gradient[batch.real].norm(dim=1) > 0)[~torch.isin(batch.ids[batch.real], torch.tensor([2, 3]))].all()
    )
    assert float(gradient[~batch.real].abs().sum()) == 0
    if precision == "32":
        step = 0.01 * gradient
        with torch.no_grad():
            ahead, behind = (
                scorer.pair_scores(query, scorer(batch, offset + sign * step)).double().sum()
                for sign in (1, -1)
            )
        assert float(ahead - behind) / 2 == pytest.approx(float((gradient * step).sum()), rel=0.02)


def test_gradients_are_cached(texts: list[str], tokenizer: Any) -> None:
    scorer = cross_encoder(tokenizer)
    rows = rows_of(scorer, tokenizer, *split(texts))
    found = []
    for size in (None, 7):
        scorer.mini_batch_size = size
        scorer.zero_grad()
        ranking_loss(scorer, *rows, block_of(20)).backward()  # type: ignore[no-untyped-call]
        assert all(parameter.grad is not None for parameter in scorer.parameters())
        found.append([parameter.grad.clone() for parameter in scorer.parameters()])  # type: ignore[union-attr]
    assert_gradients(found[1], found[0], SMALL_ROUNDINGS)


def test_a_query_is_scored_with_its_own_and_the_next_passages(tokenizer: Any) -> None:
    scorer = cross_encoder(tokenizer, listed_negatives=3)
    block = block_of(6, hard=2)
    block.excluded[0, 2] = block.excluded[1, 9] = True
    columns = scorer.columns(block)
    assert columns[0].tolist() == [0, 6, 7, 1, 3, 4]
    assert columns[1].tolist() == [1, 8, -1, 2, 3, 4]
    assert columns[5].tolist() == [5, 16, 17, 0, 1, 2]
    block.excluded[3, [0, 1, 2, 4]] = True
    assert scorer.columns(block)[3].tolist() == [3, 12, 13, 5, -1, -1]
    assert cross_encoder(tokenizer, listed_negatives=9).columns(block_of(4)).shape == (4, 4)


def test_the_loss_is_a_softmax_over_the_listed_passages(texts: list[str], tokenizer: Any) -> None:
    scorer = cross_encoder(tokenizer, listed_negatives=4)
    rows = rows_of(scorer, tokenizer, *split(texts))
    with torch.no_grad():
        whole = scorer.scores(*rows).double()
        loss = float(ranking_loss(scorer, *rows, block_of(20)))
    expected = [
        torch.logsumexp(whole[row, [(row + step) % 20 for step in range(5)]], 0) - whole[row, row]
        for row in range(20)
    ]
    assert_entropies(loss, torch.stack(expected).mean(), PAIR_ROUNDINGS, pair_scale(scorer, *rows))


def test_n_is_known(tokenizer: Any) -> None:
    scorer = cross_encoder(tokenizer)
    assert scorer.groups().counts() == {
        "non_embedding": 2 * (12 * 64**2 + 13 * 64) + 64**2 + 64 + 64 + 1,
        "embedding": (len(tokenizer) + 512 + 2 + 2) * 64,
        "total": sum(parameter.numel() for parameter in scorer.parameters()),
    }


def test_flops_are_those_that_pytorch_counts(texts: list[str], tokenizer: Any) -> None:
    scorer = cross_encoder(tokenizer)
    words = " ".join(texts).split()
    # Equal lengths: PyTorch counts padding, we do not.
    queries, passages = [" ".join(words[:6])] * 8, [" ".join(words[:20])] * 8
    rows = rows_of(scorer, tokenizer, queries, passages)
    sizes = [(side[..., 0] > 0).sum(1).numpy() for side in rows]
    columns = scorer.columns(block_of(8))
    work = scorer.scoring_work(*sizes, columns)
    assert scorer.encoding_work(sizes[0]).tokens == 0
    joined = scorer.template.joining(tokenizer)(
        queries, passages, truncation="only_second", max_length=int(work.tokens / 64), return_tensors="pt"
    )
    assert (joined["input_ids"].shape[1], work.sequences) == (work.tokens / 64, 64)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        scorer.model(**joined)  # type: ignore[operator]
    assert scorer.flops(work) == pytest.approx(8 * counter.get_total_flops(), rel=1e-6)


def test_an_exported_folder_gives_the_same_scores(
    texts: list[str], tokenizer: Any, model_folder: Path
) -> None:
    scorer = cross_encoder(tokenizer, temperature=0.25)
    queries, passages = split(texts)
    before = {name: value.clone() for name, value in scorer.state_dict().items()}
    rows = rows_of(scorer, tokenizer, queries, passages)
    with torch.no_grad():
        own = scorer.pair_scores(*rows).numpy()
    scorer.export(tokenizer, LENGTHS, model_folder)
    assert all(torch.equal(before[name], value) for name, value in scorer.state_dict().items())
    pairs = list(zip(queries, passages, strict=True))
    library = Library(str(model_folder), device="cpu")
    scale = pair_scale(scorer, *rows)
    assert_scores(library.predict(pairs), own, PAIR_ROUNDINGS, scale)
    assert library.max_seq_length == sum(LENGTHS) - 1
    reread = build_scorer(
        ModelConfig(family="cross-encoder", init="pretrained", pretrained=str(model_folder)),
        library.tokenizer, 1, "32",
    ).eval()  # fmt: skip
    with torch.no_grad():
        assert_scores(reread.pair_scores(*rows), own, PAIR_ROUNDINGS, scale)


def test_several_labels_are_refused_in_one_line(tokenizer: Any, tmp_path: Path) -> None:
    shape = BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                       intermediate_size=64, num_labels=3)  # fmt: skip
    BertForSequenceClassification(shape).save_pretrained(tmp_path)
    config = ModelConfig(family="cross-encoder", init="pretrained", pretrained=str(tmp_path))
    with pytest.raises(ConfigError, match="its classifier has 3 labels") as raised:
        build_scorer(config, tokenizer, 1, "32")
    assert "\n" not in str(raised.value)


def test_a_new_classifier_starts_at_chance(texts: list[str], tokenizer: Any) -> None:
    config = ModelConfig(family="cross-encoder", layers=2, hidden=64, heads=2, init="scratch")
    scorer = build_scorer(config, tokenizer, seed=3, precision="32").eval()
    rows = rows_of(scorer, tokenizer, *split(texts))
    with torch.no_grad():
        assert float(ranking_loss(scorer, *rows, block_of(20))) == pytest.approx(math.log(8), abs=0.05)
