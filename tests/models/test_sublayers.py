"""Both sublayers of a layer, in bfloat16 and fp32, against the composition of PyTorch's operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from retrieval.data.layout import group_tokens
from retrieval.models.cpu import linear, sublayers
from retrieval.models.cpu.attention import HeadSlots
from retrieval.models.cpu.dropout import keep_mask, scale_kept
from retrieval.models.cpu.sublayers import attended, fed_forward, norm
from retrieval.models.families import build_scorer
from tests.models.conftest import small_model
from tests.models.test_attention import HEADS, LENGTHS, SIZE, batch_of, textbook
from tests.rounding import BF16, FP32

HIDDEN = HEADS * SIZE
BATCH = batch_of(LENGTHS)

Half = Callable[[list[Tensor], float], Tensor]


def attention_sublayer(values: list[Tensor], p: float) -> Tensor:
    x, w, b, out, bias = values
    slots = HeadSlots.of(BATCH, HEADS, x.dtype)
    return attended(x, (w, b), (out, bias), slots, p, p)


def attention_composed(values: list[Tensor], p: float) -> Tensor:
    x, w, b, out, bias = values
    return x + masked(F.linear(textbook(F.linear(x, w, b), BATCH, p), out, bias), p)


def feed_forward_sublayer(values: list[Tensor], p: float) -> Tensor:
    x, *weights = values
    return fed_forward(x, (weights[0], weights[1]), (weights[2], weights[3]), p)


def feed_forward_composed(values: list[Tensor], p: float) -> Tensor:
    x, w, b, out, bias = values
    return x + masked(F.linear(F.gelu(F.linear(x, w, b)), out, bias), p)


def masked(output: Tensor, p: float) -> Tensor:
    if p == 0:
        return output
    return output * (keep_mask(output.shape, p, torch.bfloat16) != 0) * scale_kept(p)


SUBLAYERS: dict[str, tuple[Half, Half, int]] = {
    "attention": (attention_sublayer, attention_composed, 3 * HIDDEN),
    "feed-forward": (feed_forward_sublayer, feed_forward_composed, 4 * HIDDEN),
}


def drawn(name: str) -> tuple[list[Tensor], Tensor]:
    """Input and weights in bfloat16, and a gradient of the result, zero at blank tokens as in a model."""
    torch.manual_seed(0)
    width = SUBLAYERS[name][2]
    inner = HIDDEN if name == "attention" else width
    shapes = [(len(BATCH.ids), HIDDEN), (width, HIDDEN), (width,), (HIDDEN, inner), (HIDDEN,)]
    values = [torch.randn(shape) * (shape[-1] ** -0.5 if len(shape) > 1 else 0.1) for shape in shapes]
    values[0] = values[0] * HIDDEN**0.5
    if name == "attention":
        values[1] = values[1] * 0.5  # scores as even as those of a model, which divides them
    toward = torch.randn(shapes[0])
    toward[BATCH.tokens :] = 0
    return [value.bfloat16() for value in values], toward.bfloat16()


# bfloat16 has eight bits: 0.4 % a rounding. fp32 has 24, and a sum has up to T terms.
TOLERANCE = {torch.bfloat16: 0.01, torch.float32: len(BATCH.ids) * 2.0**-24}


@pytest.mark.parametrize(
    ("dtype", "least"),
    [
        (torch.float32, {}),
        (torch.bfloat16, {}),
        (torch.bfloat16, {"LEAST_CHANNELS": 1}),
        (torch.bfloat16, {"LEAST_CHANNELS": 1, "LEAST_TURNED": 1}),
    ],
)
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("name", SUBLAYERS)
def test_values_and_gradients_are_those_of_the_composition(
    name: str, p: float, dtype: torch.dtype, least: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for way, results in least.items():
        monkeypatch.setattr(linear, way, results)
    ours, composed, _ = SUBLAYERS[name]
    values, toward = drawn(name)
    found = []
    for sublayer, kind in ((ours, dtype), (composed, torch.float32)):
        leaves = [value.to(kind).requires_grad_() for value in values]
        torch.manual_seed(1)
        result = sublayer(leaves, p)
        assert result.dtype == kind
        gradients = torch.autograd.grad(result, leaves, toward.to(kind))
        found.append([result.detach()[: BATCH.tokens], *gradients])
    for mine, theirs in zip(*found, strict=True):
        assert (mine.float() - theirs).norm() / theirs.norm() < TOLERANCE[dtype]


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_what_dropout_keeps_is_multiplied_by_its_factor_and_no_other(dtype: torch.dtype, p: float) -> None:
    torch.manual_seed(0)
    width = 128
    x, zeros = torch.rand(512, width).add(0.5).to(dtype), torch.zeros(512, width, dtype=dtype)
    with torch.no_grad():
        found, mask = sublayers._added(x, torch.eye(width, dtype=dtype), zeros[0], zeros, p)
    assert mask is not None
    expected = x.double() * scale_kept(p) * (mask != 0)
    # One rounding of the type, and of the factor and of the product in fp32.
    unit = {torch.bfloat16: BF16, torch.float32: FP32}[dtype]
    assert ((found.double() - expected).abs() <= (unit + 3 * FP32) * expected).all()


@pytest.mark.parametrize("trained", [(0,), (0, 1), (0, 2), (0, 3), (0, 4), (2, 4), (1, 3)])
@pytest.mark.parametrize("name", SUBLAYERS)
def test_what_is_trained_gets_the_same_gradient_whatever_else_is(
    name: str, trained: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    values, toward = drawn(name)
    found = []
    for wanted in (range(len(values)), trained):
        leaves = [value.clone().requires_grad_(index in wanted) for index, value in enumerate(values)]
        if trained == (0,) and wanted is trained:
            monkeypatch.setattr(sublayers, "weight_gradients", None)  # no work for weights that are fixed
        result = SUBLAYERS[name][0](leaves, 0.0)
        gradients = torch.autograd.grad(result, [leaves[index] for index in trained], toward)
        found.append([result.detach(), *gradients])
    for all_trained, some_trained in zip(*found, strict=True):
        assert torch.equal(all_trained, some_trained)


@pytest.mark.parametrize("name", SUBLAYERS)
def test_without_gradients_the_values_are_the_same(name: str) -> None:
    values, _ = drawn(name)
    with torch.no_grad():
        plain = SUBLAYERS[name][1]([value.float() for value in values], 0.0)
        found = SUBLAYERS[name][0](values, 0.0)
    own = slice(BATCH.tokens)
    assert (found[own].float() - plain[own]).norm() / plain[own].norm() < 0.01


@pytest.mark.parametrize(("mean", "tolerance"), [(0.3, 0.005), (3.0, 0.02)])
def test_gradients_of_a_layer_norm_are_sums_in_fp32(mean: float, tolerance: float) -> None:
    torch.manual_seed(0)
    x, toward = torch.randn(5760, 64).add(mean).bfloat16(), torch.randn(5760, 64).bfloat16()
    found = []
    for dtype, normed in (
        (torch.bfloat16, lambda x, w, b: norm(x, (w, b), 1e-12)),
        (torch.float64, lambda x, w, b: F.layer_norm(x, (64,), w, b, 1e-12)),
    ):
        kind = torch.float32 if dtype == torch.bfloat16 else dtype
        torch.manual_seed(1)
        weight, bias = torch.randn(64).to(kind).requires_grad_(), torch.randn(64).to(kind).requires_grad_()
        leaf = x.to(dtype).requires_grad_()
        result = normed(leaf, weight, bias)
        found.append([result.detach(), *torch.autograd.grad(result, (leaf, weight, bias), toward.to(dtype))])
    for mine, theirs in zip(*found, strict=True):
        assert (mine.double() - theirs).norm() / theirs.norm() < tolerance


def test_gradients_of_a_whole_encoder_point_where_those_of_fp32_do(tokenizer: Any) -> None:
    lengths = np.random.default_rng(0).integers(3, 30, 90)
    ids = np.random.default_rng(1).integers(5, len(tokenizer), lengths.sum())
    found = []
    for precision in ("32", "bf16"):
        encoder = build_scorer(small_model(), tokenizer, seed=3, precision=precision).train()
        encoder(group_tokens(ids, lengths)).square().mean().backward()
        found.append({name: p.grad for name, p in encoder.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, expected in found[0].items():
        if not name.endswith("key.bias"):  # without effect on the softmax: nothing but rounding
            assert F.cosine_similarity(found[1][name].flatten(), expected.flatten(), dim=0) > 0.995, name
            assert float(found[1][name].norm() / expected.norm()) == pytest.approx(1, abs=0.02), name
