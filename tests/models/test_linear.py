from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from retrieval.data.layout import TOKEN_MULTIPLE
from retrieval.models.cpu import linear as module
from retrieval.models.cpu.linear import input_gradient, linear, linear_add, linear_gelu, weight_gradients
from tests.rounding import BF16, gamma

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
    assert found.dtype == torch.bfloat16
    x, w, b, residual = (part.double() for part in values)
    expected, product = plain(x, w, b, residual), x @ w.t()
    # Bias, GELU and residual are applied to sums in fp32, and the result is rounded once. The composition
    # rounds the product and its sum with the bias as well, whose errors GELU multiplies by 1.13 at most.
    sums = x.abs() @ w.abs().t() + b.abs() + residual.abs()
    bound = BF16 * expected.abs() + 1.13 * gamma(x.shape[1] + 2) * sums
    if not module.FUSED:
        bound += 1.13 * BF16 * (product.abs() + (product + b).abs())
    assert ((found.double() - expected).abs() <= bound).all()


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
@pytest.mark.parametrize("scale", [1.0, 10 / 9])
@pytest.mark.parametrize(
    ("out", "size"), [(320, 64), (64, 320), (module.LEAST_TURNED, module.LEAST_TURNED + 32)]
)
@pytest.mark.parametrize("images", [1, 2, 7])
def test_gradients_of_weights_are_sums_over_all_tokens(
    images: int, out: int, size: int, scale: float, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FUSED", module.FUSED and fused)
    torch.manual_seed(0)
    tokens = images * TOKEN_MULTIPLE
    gradient, x = torch.randn(tokens, out).bfloat16(), torch.randn(tokens, size).bfloat16()
    with torch.no_grad():
        found = weight_gradients(gradient, x, scale)
    # Sums in fp32, rounded once; with a factor at most once more, and the factor and its product in fp32.
    roundings, summed = (1, gamma(tokens)) if scale == 1 else (2 + BF16, (1 + BF16) ** 2 * gamma(tokens + 1))
    ones = torch.ones(tokens, 1, dtype=torch.float64)
    for mine, factor in ((found[0], x.double()), (found[1][:, None], ones)):
        assert mine.dtype == torch.bfloat16
        expected = scale * gradient.double().t() @ factor
        sums = scale * gradient.double().abs().t() @ factor.abs()
        bound = roundings * BF16 * expected.abs() + summed * sums
        assert ((mine.double() - expected).abs() <= bound).all()


@pytest.mark.parametrize("fused", [True, False])
def test_gradient_of_an_input_has_the_residual_added(fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FUSED", module.FUSED and fused)
    torch.manual_seed(0)
    gradient, weight, residual = torch.randn(192, 320), torch.randn(320, 64), torch.randn(192, 64)
    values = [part.bfloat16() for part in (gradient, weight, residual)]
    with torch.no_grad():
        found = input_gradient(*values)
    g, w, r = (part.double() for part in values)
    expected, sums = g @ w + r, g.abs() @ w.abs() + r.abs()
    # Without oneDNN's fused product the product may be rounded before the residual is added.
    earlier = gamma(len(w) + 1) * sums + (0 if module.FUSED else BF16 * (g @ w).abs())
    bound = BF16 * expected.abs() + (1 + BF16) * earlier
    assert ((found.double() - expected).abs() <= bound).all()
