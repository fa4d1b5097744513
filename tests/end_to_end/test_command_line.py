from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retrieval.config.help import page
from tests import commands
from tests.conftest import REPOSITORY
from tests.end_to_end.conftest import SMALL


def variables() -> dict[str, str]:
    """The environment of a command."""
    inherited = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    return {**inherited, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "PYTHONPATH": str(REPOSITORY)}


def command(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return commands.run(*arguments, folder=folder, environment={**variables(), **environment})


def started(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command in an interpreter that was started for it, whose imports count."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=variables(), capture_output=True, text=True, check=False
    )


def train(*overrides: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return command(str(REPOSITORY / "train.py"), *overrides, folder=folder, **environment)


BAD = {
    "strategy=standrad": ["strategy=standrad", "standard", "pareto"],
    "model=bert-huge": ["model=bert-huge", "bert-base"],
    "data.frac=0": ["data.frac=0", "above 0"],
    "data.frac=1.5": ["data.frac=1.5", "at most 1"],
    "data.test_queries=0": ["data.test_queries=0", "1 or more"],
    "data=synthetic data.passages=10": ["data.passages=10", "20 or more"],
    "data.frac=abc": ["data.frac", "abc", "Float"],
    "data.frak=1": ["data.frak", "data.frac"],
    "model.hidden=200": ["model.hidden=200", "model.heads"],
    "model.pooling=first": ["model.pooling=first", "mean, cls, max"],
    "model.init=pretrained": ["model.pretrained"],
    "strategy.omega=0.5": ["strategy.omega=0.5", "strategy=pareto"],
    "strategy=pareto strategy.rule=fixed": ["strategy.omega"],
    "train.steps=0": ["train.steps=0"],
    "eval.pool=100": ["eval.pool=100", "eval.negatives=256"],
    "data.frac=[1": ["data.frac=[1", "key=value"],
    "data.label=a]": ["data.label=a]", "two pairs of quotes"],
    "seed=1,2": ["seed=1,2", "add -m to sweep", "seed=[1,2]"],
    "+colour=red": ["colour", "valid"],
    "+train.warmup_steps=5": ["train.warmup_steps", "did you mean warmup?", "valid: train.batch_size"],
    "-m seed=1,2 hydra/launcher=basic": ["hydra/launcher=basic", "valid: local, submitit_local"],
    "data=local": ["data.path"],
    "data=local data.path=nowhere": ["nowhere", "does not exist"],
    "data.ood=[sympy]": ["sympy", "data.robust and in data.ood"],
    "data.ood=[networkx]": ["networkx", "data.robust_dev and in data.ood"],
    "data.robust_dev=[sympy]": ["sympy", "data.robust and in data.robust_dev"],
    "-m data.frac=0.5,2": ["data.frac=2", "at most 1"],
    "-m strategy=standard,paretto": ["strategy=paretto", "pareto"],
}


@pytest.mark.parametrize("line", BAD, ids=str)
def test_a_bad_configuration_is_one_line_and_status_2(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # which the command changes
    monkeypatch.setattr(sys, "argv", ["train.py", *line.split()])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPOSITORY / "train.py"), run_name="__main__")
    said = capfd.readouterr().err
    assert ended.value.code == 2, said
    lines = said.strip().splitlines()
    assert len(lines) == 1, said
    assert lines[0].startswith("error: ")
    for part in BAD[line]:
        assert part in lines[0]
    assert not [path for path in tmp_path.glob("runs/*") if path.name != ".sweeps"]


def test_full_tracebacks_on_request(tmp_path: Path) -> None:
    done = train("data.frak=1", folder=tmp_path, HYDRA_FULL_ERROR="1")
    assert "Traceback" in done.stderr


def test_help_and_errors_load_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import runpy, sys; sys.argv = ['train.py', 'data.frac=0']\n"
        f"try: runpy.run_path({str(REPOSITORY / 'train.py')!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'pytorch_lightning', 'wandb', 'pandas'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    new = started("-c", code, folder=tmp_path)
    assert new.stdout.strip() == "[]", new.stdout + new.stderr
    assert new.stderr == "error: data.frac=0.0 is out of range; it must be above 0, at most 1\n"
    helped = train("--help", folder=tmp_path)
    assert helped.returncode == 0
    assert helped.stdout == page() + "\n"
    wrong = train("--help", "stratgy", folder=tmp_path)
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1


def test_a_sweep_from_start_to_report(tmp_path: Path, cache: Path) -> None:
    grid = ["-m", *SMALL, f"cache={cache}", "strategy=standard,pareto", "data.frac=0.2,0.6,1"]
    first = train(*grid, folder=tmp_path)
    assert first.returncode == 0, first.stderr
    results = sorted((tmp_path / "runs").glob("*/result.json"))
    assert len(results) == 6
    again = train(*grid, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert [path.stat().st_mtime_ns for path in results] == [
        path.stat().st_mtime_ns for path in sorted((tmp_path / "runs").glob("*/result.json"))
    ]
    for arguments in (
        ["status"],
        ["collect", "--out", "runs.csv"],
        [
            "fit",
            "--metric",
            "eff/contrastive_entropy",
            "--law",
            "data",
            "--by",
            "strategy",
            "--out",
            "fit.json",
        ],
        ["frontier", "--dev", "--out", "frontier.json"],
        ["report", "--out", "report"],
    ):
        done = command("-m", "sweeps", *arguments, folder=tmp_path)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 7
    knee = json.loads((tmp_path / "frontier.json").read_text())["knee"]
    assert knee["x"] > 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<svg" in page
    steered = train(
        *SMALL, f"cache={cache}", "strategy=pareto", "strategy.frontier=frontier.json", folder=tmp_path
    )
    assert steered.returncode == 0, steered.stderr
    sources = [
        json.loads(p.read_text()).get("omega/target_source")
        for p in (tmp_path / "runs").glob("*/result.json")
    ]
    assert "frontier.json" in sources


def test_a_failing_cell_does_not_stop_the_others(tmp_path: Path, cache: Path) -> None:
    grid = ["-m", *SMALL, f"cache={cache}", "eval=none", "train.lr=1e-3,1", "train.clip=0"]
    done = train(*grid, "trainer.log_every=1", "train.weight_decay=0,1000000", folder=tmp_path)
    assert done.returncode == 1
    states = sorted(
        json.loads(path.read_text())["state"] for path in (tmp_path / "runs").glob("*/status.json")
    )
    assert states.count("failed") >= 1
    assert states.count("done") >= 1
    assert "LOSS_NOT_FINITE" in done.stdout + done.stderr


def test_a_killed_run_resumes_to_the_same_loss(tmp_path: Path, cache: Path) -> None:
    options = [*SMALL, f"cache={cache}", "train.steps=150", "eval=none"]
    options += ["trainer.checkpoint_every=5", "trainer.checkpoint_seconds=0"]
    whole = train(*options, "runs=whole", folder=tmp_path)
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "train.py"), *options, "runs=parted"],
        cwd=tmp_path,
        env=variables(),
    )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not list(tmp_path.glob("parted/*/checkpoints/last.ckpt")):
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not list(tmp_path.glob("parted/*/result.json"))
    resumed = train(*options, "runs=parted", folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr

    def losses(name: str) -> list[tuple[int, float]]:
        (path,) = tmp_path.glob(f"{name}/*/metrics.jsonl")
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [(row["step"], row["train/loss"]) for row in rows]

    assert losses("parted") == losses("whole")
