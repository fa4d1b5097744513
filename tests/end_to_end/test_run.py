from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from retrieval.data import sources
from retrieval.errors import ConfigError, TrainingError
from retrieval.pipeline import run_cell
from retrieval.run.directory import RunDirectory
from retrieval.training.checkpoints import Checkpoints
from retrieval.training.objective import Objective
from tests.end_to_end.conftest import ROUNDINGS, Compose, composed
from tests.rounding import assert_vectors

IDENTITY = ("run", "model", "data", "frac", "strategy", "seed", "base_strategy")


def directory_of(config: DictConfig) -> RunDirectory:
    return RunDirectory.of(config, sources.fingerprint(config.data, Path(config.cache)))


def weights(directory: RunDirectory) -> dict[str, torch.Tensor]:
    path = Checkpoints(directory.checkpoints).newest()
    assert path is not None
    state: dict[str, Any] = torch.load(path, weights_only=True)
    omega = state["callbacks"].get("OmegaCallback", {})
    tensors = {name: value for name, value in omega.items() if isinstance(value, torch.Tensor)}
    return {**state["state_dict"], **tensors}


def steps_of(checkpoints: Checkpoints) -> int:
    path = checkpoints.newest()
    assert path is not None
    return int(torch.load(path, weights_only=True)["global_step"])


def without_cost(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if not key.startswith("cost/")}


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, action: Any) -> None:
    """Do ``action`` in the middle of a step."""
    original = Objective.losses
    seen = iter(range(1, 10**6))

    def losses(self: Objective, *arguments: Any) -> Any:
        if next(seen) == step:
            action()
        return original(self, *arguments)

    monkeypatch.setattr(Objective, "losses", losses)


def test_a_run_leaves_everything_that_the_design_names(small: Compose) -> None:
    config = small("strategy=pareto", "strategy.rule=dro")
    result = run_cell(config)
    directory = directory_of(config)
    for name in ("config.yaml", "status.json", "metrics.jsonl", "result.json", "manifest.json"):
        assert (directory.path / name).is_file(), name
    assert (directory.checkpoints / "last.ckpt").is_file()
    assert json.loads((directory.path / "result.json").read_text()) == result
    assert directory.state() == "done"
    for key in (*IDENTITY, "size/params_non_embedding", "size/params_total", "size/train_pairs"):
        assert key in result, key
    metrics = ("contrastive_entropy", "ndcg@10", "mrr@10", "recall@100")
    sets = ("eff", "ood", "ood/domain-3", "dev/eff", "dev/ood", "dev/ood/domain-2")
    for key in [f"{side}/{metric}" for side in sets for metric in metrics]:
        assert math.isfinite(result[key]), key
    assert not [key for key in result if "ood/domain-2/" in key and "dev/" not in key]
    manifest = json.loads((directory.path / "manifest.json").read_text())
    assert "robust_dev/domain-2" in manifest["counts"]
    assert "collection/domain-2" in manifest["fingerprints"]
    for key in (
        "train_flops",
        "train_seconds",
        "pairs_per_second",
        "mfu",
        "eval_seconds",
        "seconds_per_query",
        "peak_memory_bytes",
    ):
        assert result[f"cost/{key}"] > 0, key
    assert result["bm25/eff/ndcg@10"] > 0
    assert result["omega/target_source"] == "prior"
    assert result["omega/initial"] == 0.5
    lines = directory.metrics()
    assert [line["step"] for line in lines] == [3, 6, 9, 12]
    for key in ("loss", "loss_eff", "loss_rob", "omega", "omega_distance", "lr", "pairs_per_second"):
        assert all(math.isfinite(line[f"train/{key}"]) for line in lines), key
    assert OmegaConf.load(directory.path / "config.yaml").strategy.name == "pareto"


def test_a_finished_run_is_returned_without_training(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_cell(small())
    stop_at(monkeypatch, 1, lambda: pytest.fail("trained again"))
    assert run_cell(small()) == first


def test_the_same_seed_gives_the_same_numbers(small: Compose, tmp_path: Path) -> None:
    first, again = run_cell(small()), run_cell(small(f"runs={tmp_path / 'again'}"))
    other = run_cell(small("seed=2"))
    assert without_cost(first) == without_cost(again)
    assert first["eff/contrastive_entropy"] != other["eff/contrastive_entropy"]


@pytest.mark.parametrize(
    "strategy", ["standard", "pareto strategy.rule=dro", "standard model.family=multi-vector"]
)
@pytest.mark.parametrize("step", [7, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 12))])
def test_a_stopped_run_resumes_to_the_same_bits(
    small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, step: int
) -> None:
    options = (*f"strategy={strategy}".split(), "model.dropout=0.1", "eval=none")
    whole, parted = small(*options), small(*options, f"runs={tmp_path / 'parted'}")
    run_cell(whole)
    terminated_at(parted, step)
    assert directory_of(parted).state() == "stopped"
    run_cell(parted)
    expected, found = weights(directory_of(whole)), weights(directory_of(parted))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    keys = ("step", "train/loss", "train/omega", "train/lr")
    assert [[line.get(k) for k in keys] for line in directory_of(whole).metrics()] == [
        [line.get(k) for k in keys] for line in directory_of(parted).metrics()
    ]


def terminated_at(config: Any, step: int) -> None:
    """Run until SIGTERM comes in a step, which ends the run as a signal does."""
    original = Objective.losses
    seen = iter(range(1, 10**6))

    def losses(self: Any, *arguments: Any) -> Any:
        if next(seen) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "losses", losses)
        with pytest.raises(SystemExit) as stopped:
            run_cell(config)
    assert stopped.value.code == 128 + signal.SIGTERM


def test_a_torn_checkpoint_falls_back_to_the_one_before(
    small: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small("trainer.checkpoint_every=4", "trainer.checkpoint_seconds=0", "eval=none")

    def fail() -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        stop_at(patch, 11, fail)
        with pytest.raises(RuntimeError, match="power cut"):
            run_cell(config)
    directory = directory_of(config)
    assert directory.state() == "failed"
    checkpoints = Checkpoints(directory.checkpoints)
    assert steps_of(checkpoints) == 8
    data = checkpoints.last.read_bytes()
    checkpoints.last.write_bytes(data[: len(data) // 2])
    assert steps_of(checkpoints) == 4
    run_cell(config)
    assert directory.state() == "done"
    assert [line["step"] for line in directory.metrics()] == [3, 6, 9, 12]


def test_a_loss_that_is_not_finite_is_named(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Objective.losses

    def losses(self: Objective, *arguments: Any) -> Any:
        found = original(self, *arguments)
        return type(found)(total=found.total * float("nan"), eff=found.eff)

    monkeypatch.setattr(Objective, "losses", losses)
    config = small()
    with pytest.raises(TrainingError, match="LOSS_NOT_FINITE"):
        run_cell(config)
    status = directory_of(config).status()
    assert status is not None
    assert status["state"] == "failed"
    assert "LOSS_NOT_FINITE" in status["error"]["message"]


def test_the_saved_model_gives_the_encoders_vectors(small: Compose) -> None:
    from sentence_transformers import SentenceTransformer

    from retrieval.models.encoding import encode_rows
    from retrieval.models.families import build_scorer
    from retrieval.training.prepared import prepare

    config = small("train.precision=32")
    run_cell(config)
    directory = directory_of(config)
    data = prepare(config)  # type: ignore[arg-type]
    encoder = build_scorer(config.model, data.tokenizer, 1, "32")
    state = {name.removeprefix("encoder."): w for name, w in weights(directory).items()}
    encoder.load_state_dict(state)
    rows = np.arange(20)
    expected = encode_rows(encoder, data.store(data.in_domain, "passages"), rows)
    loaded = SentenceTransformer(str(directory.model), device="cpu")
    texts = data.in_domain.passage_texts(rows)
    assert_vectors(loaded.encode_document(texts), expected, ROUNDINGS)


def test_fractions_are_nested_and_counted(small: Compose) -> None:
    from retrieval.training.prepared import prepare

    chosen = []
    for frac in (0.1, 0.5, 1.0):
        data = prepare(small(f"data.frac={frac}"))  # type: ignore[arg-type]
        pairs = data.training().in_domain.pairs
        chosen.append(set(zip(pairs.query_rows.tolist(), pairs.passage_rows.tolist(), strict=True)))
    assert chosen[0] < chosen[1] < chosen[2]
    assert len(chosen[1]) == len(chosen[2]) // 2


@pytest.mark.parametrize("omega", [0.0, 1.0])
def test_fixed_omega_is_recorded(small: Compose, omega: float) -> None:
    config = small("strategy=pareto", "strategy.rule=fixed", f"strategy.omega={omega}", "eval=none")
    result = run_cell(config)
    assert (result["omega/rule"], result["omega/initial"], result["omega/final"]) == ("fixed", omega, omega)
    assert {line["train/omega"] for line in directory_of(config).metrics()} == {omega}


def test_equal_budget_splits_the_batch(small: Compose) -> None:
    options = ("strategy=pareto", "strategy.mixing=loss", "eval=none")
    equal = run_cell(small(*options))
    extra = run_cell(small(*options, "strategy.budget=extra"))
    assert (equal["train/pairs_per_step"], extra["train/pairs_per_step"]) == (8, 16)


def test_pareto_without_robust_domains_is_refused(cache: Path, tmp_path: Path, shared: Path) -> None:
    collection = shared / "collections" / "fairytaleqa"
    options = ("data=local", f"data.path={collection}", "data.overlap=drop", "strategy=pareto", "logger=none")
    config = composed(*options, f"cache={cache}", f"runs={tmp_path}")
    with pytest.raises(ConfigError, match="needs robust-training domains"):
        run_cell(config)
