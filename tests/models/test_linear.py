from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from retrieval.models import linear as module
from retrieval.models.linear import linear, linear_add, linear_gelu

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
