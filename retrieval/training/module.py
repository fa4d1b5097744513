"""The one LightningModule: encoder, objective, optimiser and schedule."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from retrieval.config import ModelConfig, TrainConfig
from retrieval.config.model import NO_ADAPTER
from retrieval.config.train import ADAPTER_LEARNING_RATE
from retrieval.data.batches import DROPOUT, STREAMS, Batch, step_seed
from retrieval.models.adapters import fixed_names
from retrieval.models.scorer import Scorer
from retrieval.run.hardware import seed_generators
from retrieval.training.objective import Losses, Objective
from retrieval.training.sampling import Sampler

EMBEDDING_LEARNING_RATE = 2e-3
HIDDEN_LEARNING_RATE, BASE_WIDTH, BASE_LAYERS = 1e-3, 128, 2
PRETRAINED_LEARNING_RATE = 5e-5


def learning_rates(train: TrainConfig, model: ModelConfig) -> tuple[float, float]:
    """Peak learning rates of the hidden weights and of the embeddings.

    As configured; where nothing is, so that one setting fits every size.
    From scratch the hidden weights get ``1e-3 · 128/hidden · 2/layers`` and the embeddings 2e-3. Under Adam
    the best rate of a hidden matrix falls with its width, that of an embedding does not (Yang et al. 2022,
    arXiv 2203.03466, table 3); that it falls with the depth was measured (docs/method.md). A pretrained
    checkpoint gets 5e-5 throughout, adapters beside one and what stands on it 2e-4.
    """
    pretrained = ADAPTER_LEARNING_RATE if model.adapter != NO_ADAPTER else PRETRAINED_LEARNING_RATE
    hidden = embedding = train.lr if train.lr is not None else pretrained
    if train.lr is None and model.init != "pretrained":
        scale = BASE_WIDTH / model.hidden * BASE_LAYERS / model.layers
        hidden, embedding = HIDDEN_LEARNING_RATE * scale, EMBEDDING_LEARNING_RATE
    return hidden, embedding if train.embedding_lr is None else train.embedding_lr


class RetrievalModule(pl.LightningModule):
    """Trains a :class:`Scorer` by whatever its strategy says.

    It is fed the numbers of the steps; the sampler makes a step's batch when the step begins, so that what it
    trains may follow from the step before, however far the trainer fetches ahead. Dropout is seeded from
    (seed, step), and the sampler's state is in the checkpoint, so a resumed run does what the uninterrupted
    one would.
    """

    def __init__(
        self,
        encoder: Scorer,
        objective: Objective,
        train: TrainConfig,
        rates: tuple[float, float],
        seed: int,
        sampler: Sampler | None = None,
    ) -> None:
        """A module of a run.

        ``rates``: of :func:`learning_rates`; ``sampler``: ``None`` where batches come from elsewhere, as in a
        probe of speed.
        """
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self.sampler = sampler
        self.train_config = train
        self.rates = rates
        self.seed = seed
        self.last: Losses | None = None
        """Losses of the latest step, detached; read by the callbacks."""
        self._graph: Losses | None = None
        self.strict_loading = not fixed_names(self)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """All that training changes; a frozen backbone is made again from its seed or folder."""
        fixed = fixed_names(self)
        weights: dict[str, Any] = super().state_dict(*args, **kwargs)
        return {name: value for name, value in weights.items() if name not in fixed}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a step."""
        rank = batch.shard.rank if batch.shard else 0
        seed_generators(step_seed(self.seed, batch.step, DROPOUT + STREAMS * rank), self.device)
        losses = self.objective.losses(self.encoder, batch)
        self.last, self._graph = losses.detached(), losses
        return losses.total

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """The objective's backward pass: by the loss, or by the gradients of both terms."""
        assert self._graph is not None
        trained = [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]
        self.objective.backward(self._graph, trained)
        self._graph = None

    def transfer_batch_to_device(self, batch: int, device: torch.device, dataloader_idx: int) -> Batch:
        """Called by Lightning as the first thing of a step, whose number ``batch`` is."""
        assert self.sampler is not None
        return self.objective.prepare(self.sampler.batch(batch)).to(device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what decides the next steps."""
        assert self.sampler is not None
        checkpoint["sampler"] = self.sampler.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue a resumed run's choices."""
        assert self.sampler is not None
        self.sampler.load_state_dict(checkpoint["sampler"])

    def configure_optimizers(self) -> Any:
        """AdamW with linear warm-up and linear decay to zero; no weight decay on biases and norms."""
        groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
        hidden, embedding = self.rates
        split = self.encoder.groups()
        for rate, part in ((embedding, split.embedding), (hidden, split.other | split.adapters)):
            for parameter in part.values():
                if parameter.requires_grad:
                    decay = self.train_config.weight_decay if parameter.ndim > 1 else 0.0
                    groups.setdefault((rate, decay), []).append(parameter)
        optimizer = torch.optim.AdamW(
            [
                {"params": params, "lr": rate, "weight_decay": decay}
                for (rate, decay), params in sorted(groups.items(), key=lambda item: item[0])
            ],
            fused=True,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the global norm, inside the optimiser's own pass over the gradients.

        The gradients are divided by max(1, (‖g‖ + 10⁻⁶) / clip) as ``torch.nn.utils.clip_grad_norm_`` does.
        """
        if not gradient_clip_val:
            return
        if self.device.type == "mps":  # where the fused optimiser does not read the scale
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        gradients = [
            p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        optimizer.grad_scale = ((norm + 1e-6) / gradient_clip_val).clamp(min=1.0)  # type: ignore[attr-defined]

    def _factor(self, step: int) -> float:
        config = self.train_config
        step, steps = self.objective.course(step, config.steps)
        warmup = max(1, round(config.warmup * steps))
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (steps - step) / max(1, steps - warmup))
