from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from retrieval.models import linear as module
from retrieval.models.layout import TOKEN_MULTIPLE
from retrieval.models.linear import linear, linear_add, linear_gelu, weight_gradients

PAIRS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "linear": (lambda x, w, b, _: linear(x, w, b), lambda x, w, b, _: F.linear(x, w, b)),
    "gelu": (lambda x, w, b, _: linear_gelu(x, w, b), lambda x, w, b, _: F.gelu(F.linear(x, w, b))),
    "add": (linear_add, lambda x, w, b, r: F.linear(x, w, b) + r),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("fused", [True, False])
def test_fused_layers_are_as_near_to_fp32_as_bf16_allows(
    name: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FUSED", module.FUSED and fused)
    torch.manual_seed(0)
    made = torch.randn(50, 64), torch.randn(96, 64) / 8, torch.randn(96), torch.randn(50, 96)
    values = [part.to(torch.bfloat16) for part in made]
    ours, plain = PAIRS[name]
    with torch.no_grad():
        found = ours(*values)
    expected = plain(*(part.float() for part in values))
    assert found.dtype == torch.bfloat16
    # The composition rounds each sum on the way: to 2⁻⁹ of it, and none is above eight.
    torch.testing.assert_close(found.float(), expected, rtol=2**-9, atol=2 * 8 * 2**-9)
    assert (found.float() - expected).norm() / expected.norm() < 2**-8


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_are_recorded_where_they_are_wanted(name: str) -> None:
    ours, plain = PAIRS[name]
    gradients = []
    for function in (ours, plain):
        torch.manual_seed(0)
        made = torch.randn(6, 8), torch.randn(4, 8), torch.randn(4), torch.randn(6, 4)
        values = [part.to(torch.bfloat16).requires_grad_() for part in made]
        function(*values).sum().backward()
        gradients.append([part.grad for part in values])
    assert all(
        (a is None and b is None) or torch.equal(a, b)  # type: ignore[arg-type]
        for a, b in zip(*gradients, strict=True)
    )


@pytest.mark.parametrize(
    "fused", [pytest.param(True, marks=pytest.mark.skipif(not module.FUSED, reason="without oneDNN")), False]
)
@pytest.mark.parametrize("images", [1, 2, 7])
def test_gradients_of_weights_are_sums_over_all_tokens(
    images: int, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FUSED", module.FUSED and fused)
    torch.manual_seed(0)
    tokens = images * TOKEN_MULTIPLE
    gradient, x = torch.randn(tokens, 320).bfloat16(), torch.randn(tokens, 64).bfloat16()
    with torch.no_grad():
        of_weight, of_bias = weight_gradients(gradient, x, torch.zeros(320, 64, dtype=torch.bfloat16))
    expected = gradient.double().t() @ x.double()
    assert of_weight.dtype == of_bias.dtype == torch.bfloat16
    # Sums are rounded once, to eight bits.
    torch.testing.assert_close(of_weight.double(), expected, rtol=2**-8, atol=1e-3)
    torch.testing.assert_close(of_bias.double(), gradient.double().sum(0), rtol=2**-8, atol=1e-3)
