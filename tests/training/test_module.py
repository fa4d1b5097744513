"""The optimisation step of the module against plain PyTorch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, T5Config, T5EncoderModel

from retrieval.config import ModelConfig, TrainConfig
from retrieval.data.batches import Steps
from retrieval.models.families.dual_encoder import DualEncoder
from retrieval.training.module import RetrievalModule
from retrieval.training.sampling import Sampler
from retrieval.training.streams import TrainingData
from tests.rounding import FP32, assert_gradients, encoder_roundings, likely
from tests.training.conftest import Make

STEPS, BATCH = 4, 8
ROUNDINGS = encoder_roundings(layers=2, hidden=32, tokens=32)


class Recorded(RetrievalModule):
    """Keeps the gradients of each step as they are before they are clipped."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: list[list[torch.Tensor]] = []

    def configure_gradient_clipping(self, *arguments: Any, **options: Any) -> None:
        self.seen.append([p.grad.clone() for p in self.encoder.parameters() if p.grad is not None])
        super().configure_gradient_clipping(*arguments, **options)


@pytest.mark.parametrize("clip", [None, 1e-3, 0.5, 1e6])
def test_clipping_within_the_optimiser_is_that_of_pytorch(
    encoder: DualEncoder, data: TrainingData, make: Make, clip: float | None
) -> None:
    objective = make("standard")
    train = TrainConfig(steps=STEPS, batch_size=BATCH)
    rates = (1e-3, 2e-3)
    reference = RetrievalModule(copy.deepcopy(encoder), objective, train, rates, 1)
    module = Recorded(encoder, objective, train, rates, 1, Sampler(objective, data, BATCH, 1))
    trainer = pl.Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        gradient_clip_val=clip,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(module, DataLoader(Steps(0, STEPS), batch_size=None))

    configured = reference.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    sampler = Sampler(objective, data, BATCH, 1)
    trained = list(reference.encoder.parameters())
    for number, gradients in enumerate(module.seen):
        loss = reference.training_step(sampler.batch(number), 0)
        optimizer.zero_grad()
        loss.backward()
        # Each step starts from weights that carry the rounding of those before.
        assert_gradients(gradients, [p.grad for p in trained], (number + 1) * ROUNDINGS)
        # Adam divides gradients by their size: what rounding made of a zero would grow to a step.
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient.clone()
        if clip:
            torch.nn.utils.clip_grad_norm_(trained, clip)
        optimizer.step()
        schedule.step()
    assert len(module.seen) == STEPS
    # The norm is the root of a sum over all parameters: two of them differ by what is likely of one sum.
    roundings = sum(parameter.numel() for parameter in trained)
    # Adam's mean of the gradients is as far off as they are. They are taken to cancel by half at most.
    means = (
        [own.state[parameter]["exp_avg"] for parameter in parameters]
        for own, parameters in ((trainer.optimizers[0], module.encoder.parameters()), (optimizer, trained))
    )
    assert_gradients(*means, roundings)
    # A step is the mean divided by the root of the mean square, which is no smaller. Both are off by that
    # much, and a third part covers Adam's own arithmetic.
    for (name, ours), theirs in zip(module.encoder.named_parameters(), trained, strict=True):
        bound = STEPS * (3 * max(rates) * likely(roundings) + 2 * FP32 * theirs.abs().max())
        assert float((ours - theirs).abs().max()) <= bound, name


@pytest.mark.parametrize("architecture", ["bert", "llama", "t5"])
def test_the_embeddings_have_their_own_rate(architecture: str, make: Make) -> None:
    shape = {"vocab_size": 50, "num_hidden_layers": 2, "num_attention_heads": 4}
    wide = {"hidden_size": 32, "intermediate_size": 48}
    backbone: torch.nn.Module = {
        "bert": lambda: BertModel(BertConfig(**shape, **wide), add_pooling_layer=False),
        "llama": lambda: LlamaModel(LlamaConfig(**shape, **wide)),
        "t5": lambda: T5EncoderModel(T5Config(**shape, d_model=32, d_kv=8, d_ff=48)),
    }[architecture]()
    encoder = DualEncoder(backbone, ModelConfig(projection=24))
    train = TrainConfig(steps=STEPS, batch_size=BATCH, weight_decay=0.1)
    module = RetrievalModule(encoder, make("standard"), train, (1e-3, 2e-3), 1)
    groups = module.configure_optimizers()["optimizer"].param_groups
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in encoder.parameters())
    fast = {id(parameter) for group in groups if group["initial_lr"] == 2e-3 for parameter in group["params"]}
    assert fast == {id(parameter) for parameter in encoder.groups().embedding.values()}
    assert id(encoder.backbone.get_input_embeddings().weight) in fast  # type: ignore[operator]
    for group in groups:
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] > 0}
