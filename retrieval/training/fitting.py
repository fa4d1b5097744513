"""The training of a run, from its prepared data to the trained encoder."""

import contextlib
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from retrieval.config import Config, model_name
from retrieval.data.batches import Steps
from retrieval.models.families import build_scorer
from retrieval.models.scorer import Scorer
from retrieval.models.soundness import check_scorer
from retrieval.run.directory import RunDirectory
from retrieval.run.tracking import Mirror
from retrieval.training.callbacks import (
    CheckpointCallback,
    MetricsCallback,
    OmegaCallback,
    ProgressBar,
    RecalibrationCallback,
    StepReport,
    StopCallback,
)
from retrieval.training.checkpoints import Checkpoints
from retrieval.training.measurement import (
    DevLosses,
    WeightsCallback,
    dev_samples,
    dev_sides,
    recalibration_batch,
)
from retrieval.training.memory import HeapCallback
from retrieval.training.module import RetrievalModule, learning_rates
from retrieval.training.objective import Objective, Setting, build_objective
from retrieval.training.prepared import PreparedData
from retrieval.training.processes import ProcessGroup
from retrieval.training.proxy import Proxies
from retrieval.training.refresh import RefreshCallback
from retrieval.training.sampling import Sampler
from retrieval.training.streams import TrainingData


@dataclass
class Trained:
    """A finished training and what it used."""

    encoder: Scorer
    objective: Objective
    metrics: MetricsCallback
    sampler: Sampler
    pairs: int
    negatives: dict[str, int]
    device: torch.device


def train(
    cell: Config,
    data: PreparedData,
    directory: RunDirectory,
    mirror: Mirror | None,
    device: torch.device,
    precision: str,
    group: ProcessGroup,
) -> Trained:
    """Train the run of ``directory``, or this process's share of it.

    ``mirror``: W&B, in the process that owns the run; ``None`` in the others, which write nothing.
    """
    encoder = _encoder(cell, data, precision)
    if cell.trainer.compile:
        encoder.compile_layers(device)
    training = data.training()
    where = {
        "model": model_name(cell.model),
        "frac": float(cell.data.frac),
        "params_non_embedding": encoder.groups().counts()["non_embedding"],
        "train_pairs": len(training.in_domain),
        "steps": cell.train.steps,
        "batch_size": cell.train.batch_size,
        "init": cell.model.init,
        "dev": dev_sides(data),
    }
    objective = build_objective(cell.strategy, Setting(cell.seed, data.tokenizer, where))
    sampler = Sampler(objective, training, cell.train.batch_size, cell.seed, group.rank, group.size)
    rates = learning_rates(cell.train, cell.model)
    module = RetrievalModule(encoder, objective, cell.train, rates, cell.seed, sampler)
    checkpoints = Checkpoints(directory.checkpoints)
    start = checkpoints.step(module)
    metrics = MetricsCallback(cell.trainer.log_every, [])
    callbacks = _omega_callbacks(cell, data, encoder, objective, metrics)
    if start == 0 and objective.control is not None and objective.control.rule.trains_proxies:
        if mirror is not None:
            directory.progress(0, phase="proxies")
        _train_proxies(cell, data, training, objective, metrics)
    negatives = training.in_domain.negatives
    if negatives is not None and negatives.refresh:
        callbacks.append(RefreshCallback(data, negatives, directory.path / "negatives", start))
    callbacks += [metrics, HeapCallback()]
    with contextlib.ExitStack() as stack:
        if mirror is not None:
            directory.start(cell.train.steps, start)
            log = stack.enter_context(directory.metrics_log(resume_step=start))
            mirror.catch_up(directory.metrics())
            metrics.sinks += [log.append, mirror.log]
            callbacks += _owners_callbacks(cell, directory, checkpoints, metrics, start)
        _trainer(cell, device, callbacks, group).fit(
            module,
            DataLoader(Steps(start, cell.train.steps), batch_size=None),
            ckpt_path=checkpoints.newest(),
            weights_only=True,
        )
    counts = negatives.counts if negatives else {}
    return Trained(encoder.to(device), objective, metrics, sampler, len(training.in_domain), counts, device)


def _encoder(cell: Config, data: PreparedData, precision: str) -> Scorer:
    """The scorer of a run as it is before the first step."""
    encoder = build_scorer(cell.model, data.tokenizer, cell.seed, precision)
    if cell.model.init == "pretrained":
        lengths = cell.data.max_query_length, cell.data.max_passage_length
        check_scorer(encoder, data.tokenizer, lengths, str(cell.model.pretrained))
    encoder.mini_batch_size = cell.train.mini_batch_size
    if cell.train.gradient_checkpointing:
        encoder.checkpoint_gradients()
    return encoder


def _train_proxies(
    cell: Config, data: PreparedData, training: TrainingData, objective: Objective, metrics: MetricsCallback
) -> None:
    """What a rule of ω wants to know before the first step; a resumed run has it in its checkpoint."""
    control = objective.control
    assert control is not None
    samples = dev_samples(data, control.rule, cell.train.batch_size, cell.seed)
    proxies = Proxies(cell, objective, training, samples, len(data.tokenizer))
    control.use_proxies(proxies)
    metrics.measured(proxies.work, proxies.seconds)
    metrics.seconds += proxies.seconds  # the clock has not started yet


def _omega_callbacks(
    cell: Config, data: PreparedData, encoder: Scorer, objective: Objective, metrics: MetricsCallback
) -> list[pl.Callback]:
    """What moves ω, in the order in which it acts after a step."""
    control = objective.control
    if control is None:
        return []
    callbacks: list[pl.Callback] = [OmegaCallback(control)]
    if control.rule.measures and not control.rule.trains_proxies:
        samples = dev_samples(data, control.rule, cell.train.batch_size, cell.seed)
        measure = DevLosses(encoder, objective.perturbation, samples, metrics)
        if control.rule.acts_on_weights:
            callbacks.append(WeightsCallback(control.rule, measure))
        else:
            callbacks = [OmegaCallback(control, measure)]
    if cell.strategy.recalibrate:
        dev = recalibration_batch(data, objective.strategy, cell.seed)
        every = cell.strategy.recalibrate
        callbacks.append(RecalibrationCallback(objective, control, dev, every, metrics))
    return callbacks


def _owners_callbacks(
    cell: Config, directory: RunDirectory, checkpoints: Checkpoints, metrics: MetricsCallback, start: int
) -> list[pl.Callback]:
    """What the process that owns the run does beside training: reports, checkpoints, stopping."""
    callbacks: list[pl.Callback] = [StepReport(directory)]
    if cell.trainer.progress:
        bar = ProgressBar(cell.train.steps, start)
        metrics.sinks.append(bar.show)
        callbacks.append(bar)
    every, seconds = cell.trainer.checkpoint_every, cell.trainer.checkpoint_seconds
    return [*callbacks, CheckpointCallback(checkpoints, every, seconds), StopCallback(checkpoints)]


def _trainer(
    cell: Config, device: torch.device, callbacks: list[pl.Callback], group: ProcessGroup
) -> pl.Trainer:
    return pl.Trainer(
        max_steps=cell.train.steps,
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=cell.trainer.devices,
        strategy=group.strategy(device),
        plugins=group.plugins(),
        callbacks=callbacks,
        gradient_clip_val=cell.train.clip or None,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=cell.runs,
    )
