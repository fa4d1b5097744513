"""Layers that torch.compile makes: values and gradients of those it compiled, and one compilation for all."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.nn import functional as F

from retrieval.errors import ConfigError
from retrieval.models import bert, flash
from retrieval.models.families import build_scorer
from tests.models.conftest import small_model
from tests.models.test_attention import batch_of

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")

BATCHES = ([5, 9, 30], [50, 40, 30] * 20, [3] * 70, [20, 100, 7] * 9)
FP32_BITS = 24


def formula(projected: Tensor, sequences: flash.Sequences, p: float) -> Tensor:
    """What :func:`retrieval.models.flash.attention` computes, in any precision and place."""
    query, key, value = projected.view(len(projected), 3, sequences.heads, -1).permute(1, 2, 0, 3)
    token = torch.arange(len(projected), dtype=torch.int32, device=projected.device)
    own = torch.searchsorted(sequences.bounds, token, right=True)
    scores = (query @ key.transpose(1, 2)).masked_fill(own[:, None] != own, float("-inf"))
    return (F.dropout(scores.softmax(-1), p) @ value).transpose(0, 1).reshape(len(projected), -1)


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of a GPU, with the formula in the place of its kernel."""
    monkeypatch.setattr(flash, "attention", formula)
    monkeypatch.setattr(flash, "supports", lambda *_: True)
    monkeypatch.setattr(bert, "dropout", F.dropout)
    # What is traced, with its gradient, is run by PyTorch's own operations: the code that would be made of it
    # for a processor is another one than for a GPU.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    compiled = bert._compiled_layers.__wrapped__()
    monkeypatch.setattr(bert, "_compiled_layers", lambda: compiled)


def test_values_and_gradients_are_those_of_the_layers_for_any_number_of_tokens(
    as_on_a_gpu: None, tokenizer: Any
) -> None:
    backbone = build_scorer(small_model(dropout=0.0), tokenizer, 3, "32").train().backbone
    counters.clear()
    for lengths in BATCHES:
        batch = batch_of(np.array(lengths))
        toward = torch.randn(len(batch.ids), backbone.config.hidden_size)
        states, gradients = [], []
        for choice in (False, True):
            found = bert.forward(backbone, batch, torch.float32, compiled=choice)
            wanted = [each for each in backbone.parameters() if each.requires_grad]
            own = torch.autograd.grad((found * toward).sum(), wanted, allow_unused=True)
            states.append(found.detach())
            gradients.append(torch.cat([each.flatten() for each in own if each is not None]))
        # Sums of as many terms as there are tokens, in another order.
        bound = len(batch.ids) * 2.0**-FP32_BITS
        for plain, other in (states, gradients):
            assert (plain - other).norm() <= bound * plain.norm()
    assert counters["stats"]["unique_graphs"] <= 2  # one for the first number of tokens, one for all others


@pytest.mark.slow
def test_a_seed_decides_what_is_dropped(as_on_a_gpu: None, tokenizer: Any) -> None:
    backbone = build_scorer(small_model(dropout=0.3), tokenizer, 3, "32").train().backbone
    batch = batch_of(np.array([5, 9, 30]))

    def states(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return bert.forward(backbone, batch, torch.float32, compiled=True)

    assert torch.equal(states(1), states(1))
    assert not torch.equal(states(1), states(2))


def test_no_gradient_no_compilation(
    as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch, tokenizer: Any
) -> None:
    monkeypatch.setattr(bert, "_compiled_layers", lambda: pytest.fail("compiled"))
    backbone = build_scorer(small_model(), tokenizer, 3, "32").eval().backbone
    with torch.inference_mode():
        bert.forward(backbone, batch_of(np.array([5, 9])), torch.float32, compiled=True)


def test_what_would_not_be_compiled_is_refused(tokenizer: Any) -> None:
    scorer = build_scorer(small_model(), tokenizer, 3, "bf16")
    with pytest.raises(
        ConfigError, match=r"trainer\.compile=true .* train\.precision=bf16 on cpu; set it to false"
    ):
        scorer.compile_layers(torch.device("cpu"))
    scorer.compile_layers(torch.device("cuda"))
    assert scorer.compiled
    scorer.checkpoint_gradients()
    with pytest.raises(ConfigError, match=r"train\.gradient_checkpointing=true keeps none of it"):
        scorer.compile_layers(torch.device("cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_on_a_gpu_states_are_those_of_the_layers(tokenizer: Any) -> None:
    backbone = build_scorer(small_model(dropout=0.0), tokenizer, 3, "bf16").train().cuda().backbone
    for lengths in BATCHES:
        batch = batch_of(np.array(lengths)).to("cuda")
        plain, other = (
            bert.forward(backbone, batch, torch.bfloat16, compiled=each) for each in (False, True)
        )
        # bfloat16 has eight bits: 0.4 % a rounding, of which a compiled chain makes fewer
        assert (plain - other).float().norm() < 0.02 * plain.float().norm()


def test_two_losses_take_their_gradients_of_one_graph(as_on_a_gpu: None, tokenizer: Any) -> None:
    """As the rules by gradients do: the first backward pass keeps what the second one reads."""
    backbone = build_scorer(small_model(dropout=0.0), tokenizer, 3, "32").train().backbone
    found = bert.forward(backbone, batch_of(np.array([5, 9, 30])), torch.float32, compiled=True)
    weight = backbone.encoder.layer[0].output.dense.weight
    (first,) = torch.autograd.grad(found[:, 0].sum(), weight, retain_graph=True)
    (second,) = torch.autograd.grad(found[:, 1].sum(), weight)
    assert not torch.equal(first, second)
