"""One run from configuration to result: the only place where data, training and evaluation meet."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from retrieval.config import Config, model_name
from retrieval.config.validation import validate
from retrieval.evaluation.attack import ATTACK_FILE, Attack, DualEncoderModel, save_attacked
from retrieval.evaluation.dual_encoder import StoredTexts
from retrieval.evaluation.suite import SuiteResult, build_sets, evaluate_suite, save_scores
from retrieval.evaluation.untrained import UntrainedReference
from retrieval.evaluation.vectors import KeepVectors
from retrieval.models.encoder import DualEncoder
from retrieval.models.export import save_sentence_transformer
from retrieval.models.flops import encoder_flops
from retrieval.models.parameters import count_parameters
from retrieval.opened import Run
from retrieval.run import hardware
from retrieval.run.directory import RunDirectory, data_label, identity, identity_hash
from retrieval.run.notices import quiet
from retrieval.run.storage import storage_errors
from retrieval.run.tracking import Mirror
from retrieval.training import cost
from retrieval.training.callbacks import MEASURING
from retrieval.training.checkpoints import Checkpoints
from retrieval.training.diagnostics import diagnose
from retrieval.training.fitting import Trained, train
from retrieval.training.prepared import PreparedData, prepare
from retrieval.training.processes import Group, together

CONVENTION = "non_embedding+projection"


def run_cell(config: DictConfig) -> dict[str, Any]:
    """Open and :func:`execute` the run that ``config`` describes."""
    return execute(Run.open(config))


def execute(run: Run) -> dict[str, Any]:
    """Train and measure a run, or return its result when it is done already.

    Raises:
        ParetrieveError: an error with one line for people; the run directory says ``failed``.
    """
    quiet()
    with storage_errors(run.config):
        run.directory.check_config(run.config)
        with run.directory.claim() as finished:
            if finished is not None:
                return finished
            hardware.set_threads(run.cell.trainer.threads)
            run.directory.write_config(run.config)
            with storage_errors(run.config):  # the directory's record has the line for people, too
                return _run(run.cell, run.directory, run.fingerprint)


def prepare_data(config: DictConfig) -> None:
    """Build everything that the runs of a sweep share, so that they start with a warm cache."""
    quiet()
    cell = validate(config)
    with storage_errors(config):
        data = prepare(cell)
        data.training()
        if cell.eval.name != "none":
            for collection in (data.in_domain, *data.robust_dev.values(), *data.ood.values()):
                data.store(collection, "queries")
                data.store(collection, "passages")


def train_beside(config: DictConfig, group: Group) -> None:
    """Take this process's share in the training of a run that another process owns."""
    quiet()
    run = Run.open(config)
    cell = run.cell
    hardware.set_threads(max(1, (cell.trainer.threads or torch.get_num_threads()) // group.size))
    device = hardware.choose_device(cell.trainer)
    precision = hardware.choose_precision(cell.train.precision, device)
    train(cell, prepare(cell), run.directory, None, device, precision, group)


def _run(cell: Config, directory: RunDirectory, fingerprint: str) -> dict[str, Any]:
    device = hardware.choose_device(cell.trainer)
    precision = hardware.choose_precision(cell.train.precision, device)
    who = identity(cell, fingerprint)
    values: Any = OmegaConf.to_container(cast(DictConfig, cell), resolve=True)
    directory.progress(0, phase="data")
    data = prepare(cell)
    attack = Attack.load(cell.attack)
    values["manifest"] = directory.write_manifest(
        identity=identity_hash(who),
        fingerprints=data.fingerprints(),
        counts=data.counts(),
        device=str(device),
        precision=precision,
        threads=torch.get_num_threads(),
    )
    mirror = Mirror(cell.logger, directory.path, identity_hash(who)[:16], values)
    completed = False
    try:
        with together(directory, cell.trainer.devices) as group:
            trained = train(cell, data, directory, mirror, device, precision, group)
        result = _describe(cell, directory, fingerprint, trained, data, precision)
        result |= _evaluate(cell, data, directory, trained, precision, attack)
        result["cost/peak_memory_bytes"] = hardware.peak_memory(device)
        result["warnings"] = diagnose(trained.objective.control, directory.metrics(), result)
        _save_model(cell, data, directory, trained.encoder)
        directory.finish(result)
        Checkpoints(directory.checkpoints).drop_previous()
        mirror.summary(result)
        completed = True
        return result
    finally:
        mirror.finish(failed=not completed)


def _describe(
    cell: Config,
    directory: RunDirectory,
    fingerprint: str,
    trained: Trained,
    data: PreparedData,
    precision: str,
) -> dict[str, Any]:
    """Identity, sizes and training cost of a run: the part of ``result.json`` that is not measured."""
    parameters = count_parameters(trained.encoder)
    metrics = trained.metrics
    flops = encoder_flops(trained.encoder, metrics.work)
    peak = cost.peak_flops(trained.device, precision, Path(cell.cache))
    seconds = max(metrics.seconds, 1e-9)
    return {
        "run": directory.name,
        "model": model_name(cell.model),
        "data": data_label(cell),
        "frac": float(cell.data.frac),
        "strategy": cell.strategy.name,
        "base_strategy": trained.objective.strategy.base_name,
        "seed": cell.seed,
        **trained.objective.result(),
        **trained.negatives,
        "data/fingerprint": fingerprint,
        "size/params_non_embedding": parameters["non_embedding"],
        "size/params_embedding": parameters["embedding"],
        "size/params_total": parameters["total"],
        "size/convention": CONVENTION,
        "size/train_pairs": trained.pairs,
        **_accounts(trained),
        "train/pairs_seen": metrics.pairs_seen,
        "train/pairs_per_step": metrics.pairs_seen / cell.train.steps,
        "train/steps": cell.train.steps,
        "cost/train_flops": flops,
        "cost/train_flops_per_step": flops / cell.train.steps,
        "cost/train_seconds": metrics.seconds,
        "cost/pairs_per_second": metrics.pairs_seen / seconds,
        "cost/mfu": flops / seconds / (peak * cell.trainer.devices),
    }


def _accounts(trained: Trained) -> dict[str, float]:
    """What each term of the loss took: steps, pairs, different pairs, tokens, FLOPs; and dev losses."""
    metrics, found = trained.metrics, dict[str, float]()
    for name, spent in metrics.spent.items():
        flops = encoder_flops(trained.encoder, spent.work)
        if name == MEASURING:
            found |= {"cost/measure_flops": flops, "cost/measure_seconds": metrics.measuring_seconds}
        elif spent.steps:
            found |= {
                f"train/{name}/steps": spent.steps,
                f"train/{name}/pairs": spent.pairs,
                f"train/{name}/tokens": spent.tokens,
                f"train/{name}/flops": flops,
            }
    distinct = trained.sampler.distinct_pairs()
    return found | {f"train/distinct_pairs/{name}": count for name, count in distinct.items()}


def _evaluate(
    cell: Config,
    data: PreparedData,
    directory: RunDirectory,
    trained: Trained,
    precision: str,
    attack: Attack | None,
) -> dict[str, Any]:
    if cell.eval.name == "none":
        return {}
    directory.progress(cell.train.steps, phase="evaluate")
    start = time.perf_counter()
    sets = build_sets(data.in_domain, data.ood, cell.eval, data.robust_dev)
    encoder = StoredTexts(trained.encoder, data.store, progress=cell.trainer.progress)
    kept = KeepVectors(encoder, sets.eff if attack else None, Path(cell.cache))
    untrained = None
    if cell.eval.untrained:
        untrained = UntrainedReference(cell, data.store, trained.device, precision)
    measured = evaluate_suite(kept, sets, cell.eval, Path(cell.cache), untrained)
    result = {
        **measured.metrics,
        "cost/eval_seconds": time.perf_counter() - start,
        "cost/eval_flops": encoder_flops(trained.encoder, encoder.work),
    }
    if attack is not None:
        result |= _attack(cell, data, directory, trained, attack, measured, kept)
    save_scores(measured, directory.path / "scores")
    return result


def _attack(
    cell: Config,
    data: PreparedData,
    directory: RunDirectory,
    trained: Trained,
    attack: Attack,
    measured: SuiteResult,
    kept: KeepVectors,
) -> dict[str, Any]:
    """Attack the in-domain test set; its per-query scores join ``measured``."""
    outcome = attack.run(
        DualEncoderModel(trained.encoder, data.tokenizer, cell.data.max_passage_length),
        measured.scores["eff"].evaluation_set,
        kept.query_vectors,
        kept.passage_vectors,
        cell.eval,
        progress=cell.trainer.progress,
    )
    measured.scores.update(outcome.scores)
    save_attacked(outcome.attacked, directory.path / ATTACK_FILE)
    return outcome.metrics


def _save_model(cell: Config, data: PreparedData, directory: RunDirectory, encoder: DualEncoder) -> None:
    save_sentence_transformer(
        encoder.cpu(),
        data.tokenizer,
        cell.data.max_query_length,
        cell.data.max_passage_length,
        directory.model,
    )
