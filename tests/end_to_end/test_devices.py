"""A run on two devices, alone and in a sweep: a process group of its own, results of the same kind."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from retrieval.pipeline import run_cell
from retrieval.run.directory import RunDirectory
from tests.end_to_end.conftest import SMALL, Compose
from tests.end_to_end.test_command_line import train

pytestmark = pytest.mark.slow

PARETO = (
    "strategy=pareto",
    "strategy.rule=dro",
    "strategy.base=hard-negative",
    "train.precision=32",
    "trainer.threads=1",
)


def trace(folder: Path) -> list[dict[str, Any]]:
    lines = RunDirectory(folder).metrics()
    return [{k: v for k, v in line.items() if "second" not in k} for line in lines]


@pytest.mark.parametrize("options", [(), ("model.adapter=lora", "model.architecture=qwen3")], ids=str)
def test_two_devices_give_the_trace_of_one(options: tuple[str, ...], small: Compose, tmp_path: Path) -> None:
    one = run_cell(small(*PARETO, *options, f"runs={tmp_path / 'one'}"))
    two = run_cell(small(*PARETO, *options, f"runs={tmp_path / 'two'}", "trainer.devices=2"))
    assert one["run"] == two["run"]
    assert two["cost/train_flops"] == one["cost/train_flops"]
    assert two["train/pairs_seen"] == one["train/pairs_seen"]
    for ours, theirs in zip(
        trace(tmp_path / "two" / two["run"]), trace(tmp_path / "one" / one["run"]), strict=True
    ):
        assert ours == pytest.approx(theirs, rel=1e-3)
    assert two["eff/contrastive_entropy"] == pytest.approx(one["eff/contrastive_entropy"], rel=1e-2)


def test_a_sweep_with_two_devices_a_cell(tmp_path: Path) -> None:
    done = train(
        "-m", *SMALL, "trainer.devices=2", "seed=1,2", "hydra.launcher.slots=2", "eval=none", folder=tmp_path
    )
    assert done.returncode == 0, done.stderr + done.stdout
    results = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/result.json")]
    assert sorted(result["seed"] for result in results) == [1, 2]


def test_an_interrupted_run_on_two_devices_resumes_exactly(small: Compose, tmp_path: Path) -> None:
    overrides = (*PARETO, "trainer.devices=2", "train.steps=60", "trainer.checkpoint_seconds=0", "eval=none")
    whole = run_cell(small(*overrides, f"runs={tmp_path / 'whole'}"))
    config = small(*overrides, f"runs={tmp_path / 'cut'}")
    folder = tmp_path / "cut" / whole["run"]
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            run_cell(config)
            code = 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        finally:
            os._exit(code)
    while not (folder / "metrics.jsonl").exists() or len(RunDirectory(folder).metrics()) < 3:
        time.sleep(0.02)
    family = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGTERM)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert RunDirectory(folder).state() == "stopped"
    resumed = run_cell(config)
    assert resumed["omega/final"] == whole["omega/final"]
    assert trace(folder) == trace(tmp_path / "whole" / whole["run"])


def test_adversarial_steps_on_two_devices_are_those_of_one(small: Compose, tmp_path: Path) -> None:
    options = ("strategy=pareto", "strategy.robust=both", "strategy.rule=fixed", "strategy.omega=0.5")
    own = (*options, "train.precision=32", "trainer.threads=1", "eval=none")
    one = run_cell(small(*own, f"runs={tmp_path / 'one'}"))
    two = run_cell(small(*own, f"runs={tmp_path / 'two'}", "trainer.devices=2"))
    assert two["cost/train_flops"] == pytest.approx(one["cost/train_flops"])
    for ours, theirs in zip(
        trace(tmp_path / "two" / two["run"]), trace(tmp_path / "one" / one["run"]), strict=True
    ):
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_random_words_are_refused(tmp_path: Path) -> None:
    options = ("strategy=adversarial", "strategy.perturbation.kind=noise")
    refused = train(*SMALL, "trainer.devices=2", *options, folder=tmp_path)
    assert refused.returncode == 2
    assert "use fgsm, pgd or substitution, or trainer.devices=1" in refused.stderr
