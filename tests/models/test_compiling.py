"""``trainer.compile``: the same vectors and gradients, and one line where PyTorch cannot compile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from retrieval.data.layout import group_tokens
from retrieval.errors import ConfigError
from retrieval.models import bert, compiling
from retrieval.models.backbones import build_encoder
from retrieval.models.compiling import compiled_operations
from tests.models.conftest import small_model


@pytest.mark.slow
def test_compiled_operations_give_the_same_vectors_and_gradients(tokenizer: Any) -> None:
    encoder = build_encoder(small_model(dropout=0.1), tokenizer, seed=3, precision="32").train()
    compiled = compiled_operations(torch.device("cpu"), "32")
    for count in (30, 90, 60):  # one number of tokens, then others
        lengths = np.random.default_rng(count).integers(3, 30, count)
        batch = group_tokens(np.ones(lengths.sum(), dtype=np.int64), lengths)
        found = []
        for operations in (bert.PLAIN, compiled):
            encoder.operations = operations
            encoder.zero_grad()
            torch.manual_seed(1)
            vectors = encoder(batch)
            vectors.square().sum().backward()
            gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
            found.append([vectors.detach(), *gradients])
        for plain, other in zip(*found, strict=True):
            torch.testing.assert_close(other, plain, rtol=1e-3, atol=1e-5)


def test_without_a_compiler_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: Any) -> Any:
        def call(*_: Any) -> Any:
            raise RuntimeError("InvalidCxxCompiler: no g++ found\nlong story")

        return call

    monkeypatch.setattr(compiling.torch, "compile", broken)
    with pytest.raises(
        ConfigError, match=r"trainer.compile=true: .*no g\+\+ found\); set trainer.compile=false"
    ):
        compiled_operations(torch.device("cpu"), "32")


def test_in_bf16_on_a_cpu_there_is_nothing_to_compile() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.compile=true: in bf16 on a CPU"):
        compiled_operations(torch.device("cpu"), "bf16")
