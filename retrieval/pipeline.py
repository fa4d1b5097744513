"""One run from configuration to result: the only place where data, training and evaluation meet."""

from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from retrieval.codes import Finding
from retrieval.config import Config, ModelConfig, model_name
from retrieval.config.attack import ATTACK_FILE
from retrieval.config.validation import validate
from retrieval.data.quality import findings_of
from retrieval.evaluation.adversarial.evaluation import AttackEvaluation, attack_flops
from retrieval.evaluation.adversarial.records import save_attacked
from retrieval.evaluation.findings import findings_of_sets
from retrieval.evaluation.measuring import Collections, UntrainedReference, measure_all
from retrieval.evaluation.suite import save_scores
from retrieval.models.checkpoint import hub_commit
from retrieval.models.families import in_whole
from retrieval.opened import Run
from retrieval.run import hardware
from retrieval.run.directory import RunDirectory
from retrieval.run.hardware import quiet
from retrieval.run.identity import data_label, identity, identity_hash
from retrieval.run.settings import changed_settings
from retrieval.run.storage import storage_errors
from retrieval.run.tracking import Mirror
from retrieval.search.retriever import ScorerRetriever
from retrieval.training import cost
from retrieval.training.callbacks import MEASURING
from retrieval.training.checkpoints import Checkpoints
from retrieval.training.diagnostics import diagnose, without_consequences
from retrieval.training.fitting import Trained, train
from retrieval.training.prepared import PreparedData, prepare
from retrieval.training.processes import ProcessGroup, together

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
            if run.cell.trainer.threads is not None:
                torch.set_num_threads(run.cell.trainer.threads)
            run.directory.write_config(run.config)
            with storage_errors(run.config):  # the directory's record has the line for people, too
                return _run(run.cell, run.directory, run.fingerprint)


def prepare_data(config: DictConfig) -> PreparedData:
    """Build everything that the runs of a sweep share, so that they start with a warm cache, and open it."""
    quiet()
    cell = validate(config)
    with storage_errors(config):
        data = prepare(cell)
        data.training()
        if cell.eval.name != "none":
            for collection in (data.in_domain, *data.robust_dev.values(), *data.ood.values()):
                data.store(collection, "queries")
                data.store(collection, "passages")
    return data


def train_beside(config: DictConfig, group: ProcessGroup) -> None:
    """Take this process's share in the training of a run that another process owns."""
    quiet()
    run = Run.open(config)
    cell = run.cell
    torch.set_num_threads(max(1, (cell.trainer.threads or torch.get_num_threads()) // group.size))
    device, precision = hardware.chosen(cell)
    hardware.settle(device)
    train(cell, prepare(cell), run.directory, None, device, precision, group)


def _run(cell: Config, directory: RunDirectory, fingerprint: str) -> dict[str, Any]:
    device, precision = hardware.chosen(cell)
    hardware.check_loading(cell.model, device)
    hardware.settle(device)
    who = identity(cell, fingerprint)
    values: Any = OmegaConf.to_container(cast(DictConfig, cell), resolve=True)
    directory.progress(0, phase="data")
    data = prepare(cell)
    attack = AttackEvaluation.load(cell.attack)
    values["manifest"] = directory.write_manifest(
        identity=identity_hash(who),
        fingerprints=data.fingerprints(),
        counts=data.counts(),
        device=str(device),
        precision=precision,
        threads=torch.get_num_threads(),
        **_published(cell),
    )
    mirror = Mirror(cell.logger, directory.path, identity_hash(who)[:16], values)
    completed = False
    try:
        with together(directory, cell.trainer.devices) as group:
            trained = train(cell, data, directory, mirror, device, precision, group)
        result = _describe(cell, directory, fingerprint, trained, data, precision)
        measured, findings = _evaluate(cell, data, directory, trained, precision, attack)
        result |= measured
        result["cost/peak_memory_bytes"] = hardware.peak_memory(device)
        findings = [*findings_of(data.store.read), *findings]
        result["warnings"] = without_consequences(
            findings + diagnose(trained.objective.control, directory.metrics(), result)
        )
        lengths = cell.data.max_query_length, cell.data.max_passage_length
        exported = in_whole(trained.encoder, data.tokenizer, cell.seed).cpu()
        exported.settle()
        exported.export(data.tokenizer, lengths, directory.model)
        directory.finish(result)
        Checkpoints(directory.checkpoints).drop_previous()
        mirror.summary(result)
        completed = True
        return result
    finally:
        mirror.finish(failed=not completed)


def _published(cell: Config) -> dict[str, str]:
    """The commit of a checkpoint of the hub, whose id alone is in the run's identity."""
    if cell.model.init != "pretrained":
        return {}
    commit = hub_commit(str(cell.model.pretrained))
    return {} if commit is None else {"pretrained_commit": commit}


def _describe(
    cell: Config,
    directory: RunDirectory,
    fingerprint: str,
    trained: Trained,
    data: PreparedData,
    precision: str,
) -> dict[str, Any]:
    """Identity, sizes and training cost of a run: the part of ``result.json`` that is not measured."""
    parameters = trained.encoder.groups().counts()
    metrics = trained.metrics
    flops = trained.encoder.flops(metrics.work)
    peak = cost.peak_flops(trained.device, precision, Path(cell.cache))
    seconds = max(metrics.seconds, 1e-9)
    return {
        "run": directory.name,
        "model": model_name(cell.model),
        **({"model_family": cell.model.family} if cell.model.family != ModelConfig.family else {}),
        "data": data_label(cell),
        "frac": float(cell.data.frac),
        "strategy": cell.strategy.name,
        "base_strategy": trained.objective.strategy.base_name,
        "seed": cell.seed,
        **trained.objective.result(),
        **trained.negatives,
        "data/fingerprint": fingerprint,
        **({"data/robust": ", ".join(data.robust)} if data.robust else {}),
        "size/params_non_embedding": parameters["non_embedding"],
        "size/params_embedding": parameters["embedding"],
        "size/params_total": parameters["total"],
        **({"size/params_trainable": parameters["trainable"]} if "trainable" in parameters else {}),
        "size/convention": CONVENTION,
        "size/train_pairs": trained.pairs,
        **_accounts(trained),
        "train/pairs_seen": metrics.pairs_seen,
        "train/pairs_per_step": metrics.pairs_seen / cell.train.steps,
        "train/steps": cell.train.steps,
        **changed_settings(cell),
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
        flops = trained.encoder.flops(spent.work)
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
    attack: AttackEvaluation | None,
) -> tuple[dict[str, Any], list[Finding]]:
    """The measured part of ``result.json``, and warnings about it."""
    if cell.eval.name == "none":
        return {}, []
    directory.progress(cell.train.steps, phase="evaluate")
    untrained = None
    if cell.eval.untrained:
        untrained = UntrainedReference(cell, data.store, trained.device, precision)
    retriever = ScorerRetriever(trained.encoder, data.store, progress=cell.trainer.progress)
    collections = Collections(data.in_domain, data.robust_dev, data.ood)
    measured = measure_all(retriever, collections, cell, attack, untrained)
    save_scores(measured.scores, directory.path / "scores")
    if measured.attacked is not None:
        save_attacked(measured.attacked, directory.path / ATTACK_FILE)
    flops = trained.encoder.flops(retriever.work + measured.work)
    costs = {
        "cost/eval_seconds": measured.seconds,
        "cost/eval_flops": flops,
        "cost/seconds_per_query": measured.seconds_per_query,
    }
    if measured.attack_passes:
        costs |= attack_flops(measured.attack_passes, trained.encoder.flops)
    return {**measured.metrics, **measured.about, **costs}, list(findings_of_sets(measured, precision))
