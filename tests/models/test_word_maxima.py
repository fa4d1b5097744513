"""Largest logits and their gradient, against PyTorch's own over the logits of all tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval.models import word_maxima as module
from retrieval.models.word_maxima import word_maxima

SIZES = np.array([1, 3, 3, 3, 7, 8])
BLANK, WIDTH, WORDS = 5, 16, 200


def by_autograd(states: Tensor, table: Tensor) -> Tensor:
    logits = states @ table.T
    return torch.stack([part.amax(0) for part in logits[: SIZES.sum()].split(SIZES.tolist())])


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(int(SIZES.sum()) + BLANK, WIDTH, generator=generator).to(dtype)
    table = torch.randn(WORDS, WIDTH, generator=generator)
    of_maxima = torch.randn(len(SIZES), WORDS, generator=generator)
    return states.requires_grad_(), table.requires_grad_(), of_maxima


@pytest.mark.parametrize("at_once", [1, 64 * 40, 2**20], ids=["fewest words", "some words", "all words"])
@pytest.mark.parametrize("share", [1.0, 0.02, 0.0])
def test_maxima_and_gradients(monkeypatch: pytest.MonkeyPatch, at_once: int, share: float) -> None:
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", at_once)
    states, table, of_maxima = inputs()
    of_maxima = of_maxima * (torch.rand(of_maxima.shape) < share)
    expected, found = by_autograd(states, table), word_maxima(states, table, SIZES)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, (states, table), of_maxima),
        torch.autograd.grad(expected, (states, table), of_maxima),
    )


def test_without_gradient_the_maxima_are_the_same() -> None:
    states, table, _ = inputs()
    with torch.no_grad():
        alone = word_maxima(states, table, SIZES)
    assert torch.equal(alone, word_maxima(states, table, SIZES))
    assert not alone.requires_grad


def test_each_input_may_be_fixed() -> None:
    states, table, of_maxima = inputs()
    both = torch.autograd.grad(word_maxima(states, table, SIZES), (states, table), of_maxima)
    (alone,) = torch.autograd.grad(word_maxima(states, table.detach(), SIZES), states, of_maxima)
    assert torch.equal(alone, both[0])
    (alone,) = torch.autograd.grad(word_maxima(states.detach(), table, SIZES), table, of_maxima)
    assert torch.equal(alone, both[1])


def test_bf16_products_are_those_of_rounded_inputs() -> None:
    states, table, of_maxima = inputs(torch.bfloat16)
    found = word_maxima(states, table, SIZES)
    exact = by_autograd(states.float(), table.bfloat16().float())
    assert found.dtype == torch.float32
    # A product is rounded once, by at most 2⁻⁸ of it, whatever it is summed up in.
    torch.testing.assert_close(found, exact, rtol=2**-8, atol=1e-5)
    of_states, of_table = torch.autograd.grad(found, (states, table), of_maxima)
    assert (of_states.dtype, of_table.dtype) == (torch.bfloat16, torch.float32)
