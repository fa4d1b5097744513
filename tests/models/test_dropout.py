"""Dropout by bits: the share dropped, the scale, the gradient, the seed."""

from __future__ import annotations

import pytest
import torch

from retrieval.models.cpu.dropout import dropout, keep, keep_, keep_mask, scale_kept


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_share_dropped_and_scale(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    found = dropout(torch.ones(1001, 333, dtype=dtype), p)
    share = float((found == 0).float().mean())
    assert share == pytest.approx(p, abs=4 * (p * (1 - p) / found.numel()) ** 0.5)
    assert found.unique().tolist() == [0, float(torch.tensor(scale_kept(p)).to(dtype))]
    assert scale_kept(p) == pytest.approx(1 / (1 - p), rel=2**-16 / (1 - p))
    # Elements that share a 64-bit number are independent.
    columns = (found.flatten()[: found.numel() // 4 * 4].view(-1, 4) == 0).double()
    assert float(torch.corrcoef(columns.T).fill_diagonal_(0).abs().max()) < 5 * len(columns) ** -0.5


def test_gradient_goes_where_the_value_went() -> None:
    x = torch.randn(50, 7, requires_grad=True)
    torch.manual_seed(2)
    dropped = dropout(x, 0.3)
    (gradient,) = torch.autograd.grad(dropped.sum(), x)
    torch.testing.assert_close(gradient * x, dropped)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_masks_keep_all_bits_of_an_element_or_none(dtype: torch.dtype) -> None:
    shape = torch.Size((3, 1001))  # not a multiple of the four elements of a number
    torch.manual_seed(5)
    mask = keep_mask(shape, 0.25, dtype)
    assert mask.element_size() == dtype.itemsize
    assert set(mask.unique().tolist()) == {-1, 0}
    torch.manual_seed(5)
    assert torch.equal(mask != 0, keep_mask(shape, 0.25, torch.bfloat16) != 0)
    x = torch.randn(shape, dtype=dtype)
    expected = torch.where(mask != 0, x, torch.zeros((), dtype=dtype))
    assert torch.equal(keep(x, mask), expected)
    assert torch.equal(keep_(x, mask), expected)
    assert torch.equal(x, expected)


def test_gradients_of_gradients_are_those_of_a_linear_function() -> None:
    def dropped(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(2)
        return dropout(x, 0.3).square()

    x = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(dropped, (x,))
    assert torch.autograd.gradgradcheck(dropped, (x,))


def test_seed_decides_and_a_share_of_zero_changes_nothing() -> None:
    x = torch.randn(9, 9)
    draws = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        draws.append(dropout(x, 0.5))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert dropout(x, 0.0) is x
    assert not dropout(x, 1.0).any()
