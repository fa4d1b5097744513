"""Run identity, run directory, claim, metrics log."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from retrieval import config as schema
from retrieval.config.data import ROLES
from retrieval.data.sources.pydocs import PydocsConfig
from retrieval.errors import ConfigError, ParetrieveError
from retrieval.run import directory as runs
from retrieval.run import ownership
from retrieval.run.directory import RunBusyError, RunDirectory
from retrieval.run.files import MetricsLog, read_metrics
from retrieval.run.identity import canonical, changed_key, identity, identity_hash, run_name, safe


def make_config(**changes: Any) -> DictConfig:
    config = OmegaConf.structured(
        schema.Config(
            model=schema.ModelConfig(),
            data=PydocsConfig(domains={"in-domain": ["numpy"]}),
            strategy=schema.StrategyConfig(),
            eval=schema.EvalConfig(),
            trainer=schema.TrainerConfig(),
            logger=schema.LoggerConfig(),
        )
    )
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value)
    assert isinstance(config, DictConfig)
    return config


# --- identity -----------------------------------------------------------------------------------


def test_golden_hash() -> None:
    """A change of this value orphans every finished run on every disk."""
    value = {
        "model": {"layers": 4, "init": "scratch"},
        "train": {"lr": 5e-4, "clip": 1.0},
        "seed": 1,
        "x": None,
    }
    text = '{"model":{"init":"scratch","layers":4},"seed":1,"train":{"clip":1,"lr":0.0005},"x":null}'
    assert identity_hash(value) == hashlib.sha256(text.encode()).hexdigest()
    assert identity_hash(value) == "b6625bca3c13151c89e2f02abe6172be9663f1fe00b619ca143429441a9ea744"


@pytest.mark.parametrize(
    "change",
    [
        {"trainer__devices": 4},
        {"trainer__threads": 7},
        {"trainer__accelerator": "gpu"},
        {"logger__name": "none"},
        {"logger__tags": ["a"]},
        {"runs": "/elsewhere"},
        {"cache": "/elsewhere"},
        {"fail_fast": True},
        {"data__path": "/some/folder"},
        {"data__label": "other"},
        {"data__frac": 1},
        {"strategy__eta": 0.2},  # of a rule of ω, which `standard` has not
    ],
)
def test_identity_ignores(change: dict[str, Any]) -> None:
    base = identity_hash(identity(make_config(), "f"))
    assert identity_hash(identity(make_config(**change), "f")) == base


@pytest.mark.parametrize(
    "change",
    [
        {"model__layers": 5},
        {"data__frac": 0.5},
        {"data__vocabulary": 100},
        {"strategy__name": "hard-negative"},
        {"train__steps": 201},
        {"train__lr": 1e-3},
        {"eval__draws": 11},
        {"eval__variations": ["typo"]},
        {"eval__probes": ["length"]},
        {"seed": 2},
    ],
)
def test_identity_sees(change: dict[str, Any]) -> None:
    base = identity_hash(identity(make_config(), "f"))
    assert identity_hash(identity(make_config(**change), "f")) != base


def test_variations_and_probes_count_by_what_they_are_asked_for() -> None:
    def of(**changes: Any) -> dict[str, Any]:
        found: dict[str, Any] = identity(make_config(**changes), "f")["eval"]
        return found

    assert not {"variations", "variation_rate", "synonyms", "probes"} & set(of())
    assert of(eval__variation_rate=0.5) == of()
    both = of(eval__variations=["typo", "case"])
    assert both == of(eval__variations=["case", "typo", "case"])
    assert both != of(eval__variations=["typo", "case"], eval__variation_rate=0.5)
    old = OmegaConf.to_container(make_config(), resolve=True)
    assert isinstance(old, dict)
    for key in ("variations", "variation_rate", "synonyms", "probes"):
        del old["eval"][key]
    assert identity_hash(identity(make_config(), "f")) == identity_hash(identity(OmegaConf.create(old), "f"))


@pytest.mark.parametrize("role", ROLES)
def test_identity_sees_the_fingerprint_and_not_the_place_of_domains(role: str) -> None:
    here = make_config(**{f"data__{role}": ["/a/one", "/a/two/"]})
    there = make_config(**{f"data__{role}": ["../b/one", "../b/two"]})
    assert identity(here, "f") == identity(there, "f")
    assert identity(here, "f") != identity(make_config(**{f"data__{role}": ["/a/one"]}), "f")
    assert identity_hash(identity(here, "f")) != identity_hash(identity(here, "g"))


def test_identity_of_a_file_is_its_content(tmp_path: Path) -> None:
    frontier = tmp_path / "frontier.json"
    frontier.write_text("{}")
    copy = tmp_path / "copy.json"
    copy.write_text("{}")

    def of(path: Path) -> dict[str, Any]:
        return identity(make_config(strategy__name="pareto", strategy__frontier=str(path)), "f")

    first = of(frontier)
    assert of(copy) == first
    frontier.write_text('{"changed": 1}')
    assert of(frontier) != first


def test_identity_of_a_run_folder_is_its_encoder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "model" / "weights").write_bytes(b"1")

    def now() -> dict[str, Any]:
        return identity(make_config(strategy__name="hard-negative", strategy__hard__source=str(run)), "f")

    first = now()
    (run / "status.json").write_text("{}")
    assert now() == first
    (run / "model" / "weights").write_bytes(b"22")
    assert now() != first


def test_canonical_numbers() -> None:
    assert canonical(0.1 + 0.2) == 0.3
    assert json.dumps(canonical({"a": 1.0, "b": True, "c": -0.0})) == '{"a": 1, "b": true, "c": 0}'
    with pytest.raises(ConfigError, match="nan"):
        canonical({"lr": float("nan")})


@given(st.dictionaries(st.text(), st.integers(-(10**9), 10**9) | st.text() | st.booleans(), max_size=5))
def test_hash_independent_of_order_and_number_type(value: dict[str, Any]) -> None:
    reordered = {
        key: float(item) if isinstance(item, int) and not isinstance(item, bool) else item
        for key, item in reversed(value.items())
    }
    assert identity_hash(value) == identity_hash(reordered)


def test_run_name() -> None:
    name = run_name(make_config(data__frac=0.5, seed=3, strategy__name="pareto"), "0123456789")
    assert name.rpartition("_")[0] == "bert-mini_pydocs_f0.5_pareto_s3"
    assert name.rpartition("_")[2] == "01234567"


# OmegaConf takes ??? for a value that is missing and ${ for the start of another's name: no texts of a label.
@given(st.text().filter(lambda text: text != "???" and "${" not in text))
def test_names_cannot_escape(text: str) -> None:
    config = make_config(
        data__label=text, strategy__name=text, model__init="pretrained", model__pretrained=f"x/{text}"
    )
    name = run_name(config, "0" * 64)
    assert Path("/runs", name).resolve().parent == Path("/runs")
    assert not name.startswith(".")
    assert len(name.encode()) < 255
    assert set(safe(text)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+-")


# --- directory ----------------------------------------------------------------------------------


def test_life_of_a_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "runs" / "cell")
    assert run.state() == "absent"
    assert run.finished() is None
    with run.claim() as result:
        assert result is None
        assert run.state() == "running"
        run.start(steps=20)
        run.progress(10)
        status = run.status() or {}
        assert (status["step"], status["steps"], status["pid"]) == (10, 20, os.getpid())
        run.finish({"eff/ndcg@10": np.float32(0.5), "bad": float("nan")})
    assert run.state() == "done"
    assert run.finished() == {"eff/ndcg@10": 0.5, "bad": None}
    with run.claim() as result:
        assert result == run.result()


def test_progress_is_throttled_but_phases_are_not(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "cell")
    with run.claim():
        run.progress(1)
        run.progress(2)
        assert (run.status() or {})["step"] == 1
        run.progress(3, phase="evaluate")
        assert (run.status() or {})["step"] == 3


def test_exception_marks_failed_and_a_retry_clears_it(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "cell")
    with pytest.raises(ValueError, match="broken"), run.claim():
        raise ValueError("broken")
    assert run.state() == "failed"
    error = (run.status() or {})["error"]
    assert (error["type"], error["message"]) == ("ValueError", "broken")
    assert "test_runs.py" in error["traceback"]
    with run.claim():
        assert (run.status() or {})["error"] is None
        run.finish({})
    assert run.state() == "done"


def test_interruption_leaves_it_to_be_resumed(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "cell")
    with contextlib.suppress(SystemExit), run.claim():
        run.start(steps=20)
        run.progress(7)
        sys.exit(143)
    assert run.state() == "stopped"


def test_result_without_done_is_not_finished(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "cell")
    with contextlib.suppress(KeyboardInterrupt), run.claim():
        (run.path / "result.json").write_text("{}")
        raise KeyboardInterrupt
    assert run.finished() is None


def test_refreshing_opens_the_folders_that_a_client_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    scan = os.scandir
    monkeypatch.setattr(runs.os, "scandir", lambda path: opened.append(Path(path)) or scan(path))
    listed: list[Path] = []
    iterate = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.append(path) or iterate(path))
    run = RunDirectory(tmp_path / "runs" / "cell")
    run.refresh()  # neither is there yet
    with run.claim():
        run.refresh()
    assert set(opened) >= {run.path.parent}
    assert set(listed) >= {run.path}


def test_another_process_cannot_fail_what_is_done(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "cell")
    assert run.fail_unless_done({"type": "TaskEnded", "message": "lost"})
    assert run.state() == "failed"
    with run.claim():
        run.finish({"a": 1})
    assert not run.fail_unless_done({"type": "TaskEnded", "message": "lost"})
    assert (run.finished(), (run.status() or {})["error"]) == ({"a": 1}, None)


def test_failed_atomic_write_keeps_the_old_file(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "cell")
    with run.claim():
        run.finish({"a": 1})
    with pytest.raises(TypeError):
        run.finish({"a": object()})
    assert run.result() == {"a": 1}
    assert not list(run.path.glob("*.tmp"))
    assert not list(run.path.glob(".*.tmp"))


def test_unwritable_runs_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ParetrieveError, match=r"cannot write to .*set runs="),
        RunDirectory(tmp_path / "file" / "x").claim(),
    ):
        pass


def hold(path: Path, ready: Any) -> None:
    with RunDirectory(path).claim():
        ready.send(os.getpid())
        time.sleep(60)


def test_two_processes_never_share_a_run_and_a_dead_owner_is_replaced(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "cell")
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    owner = context.Process(target=hold, args=(run.path, send))
    owner.start()
    pid = receive.recv()
    assert run.state() == "running"
    with pytest.raises(RunBusyError, match=str(pid)), run.claim(timeout=0.1):
        pass
    os.kill(pid, signal.SIGKILL)
    owner.join()
    assert run.state() == "stopped"
    with run.claim(timeout=0.1) as result:
        assert result is None
        assert (run.status() or {})["pid"] == os.getpid()


def write_foreign_status(run: RunDirectory, age: float) -> None:
    run.path.mkdir()
    status = run.path / "status.json"
    status.write_text(json.dumps({"state": "running", "host": "elsewhere", "pid": 1}))
    os.utime(status, (time.time() - age, time.time() - age))


def test_other_hosts_are_judged_by_heartbeat(tmp_path: Path) -> None:
    fresh, stale = RunDirectory(tmp_path / "fresh"), RunDirectory(tmp_path / "stale")
    write_foreign_status(fresh, 1)
    write_foreign_status(stale, ownership.STALE_SECONDS + 1)
    assert (fresh.state(), stale.state()) == ("running", "stopped")
    with pytest.raises(RunBusyError, match="elsewhere"), fresh.claim():
        pass
    with stale.claim() as result:
        assert result is None


def test_heartbeat_keeps_the_status_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "HEARTBEAT_SECONDS", 0.02)
    run = RunDirectory(tmp_path / "cell")
    with run.claim():
        before = (run.status() or {})["updated"]
        while (run.status() or {})["updated"] == before:
            time.sleep(0.02)


def test_manifest_and_config(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "cell")
    run.write_manifest(device="cpu", counts={"pairs": 3})
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["device"] == "cpu"
    assert manifest["counts"] == {"pairs": 3}
    assert manifest["versions"]["omegaconf"].startswith("2.")
    config = make_config()
    run.write_config(config)
    loaded = OmegaConf.load(run.path / "config.yaml")
    assert loaded.model.init == "scratch"
    assert identity_hash(identity(OmegaConf.merge(config, loaded), "f")) == identity_hash(
        identity(config, "f")
    )


def test_changed_key_names_what_counts_and_nothing_else(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_config(make_config(strategy__frontier="here.json", data__ood=["/a/one"]))
    same = {"strategy__frontier": "there.json", "data__ood": ["/b/one"], "runs": "x", "attack__queries": 7}
    assert changed_key(run.config, make_config(**same, data__path="/c", trainer__threads=3)) is None
    for key, value in {"seed": 2, "train.lr": 0.5, "data.domains": {"in-domain": ["json"]}}.items():
        changed = changed_key(run.config, make_config(**{key.replace(".", "__"): value}))
        assert changed is not None
        assert changed.startswith(key)
    run.config.write_text("[1, 2")
    assert changed_key(run.config, make_config()) == "its syntax"


# --- metrics log --------------------------------------------------------------------------------


def test_metrics_resume_cuts_later_and_torn_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        for step in (10, 20, 30, 40):
            log.append(step, {"train/loss": float(step)})
    path.write_bytes(path.read_bytes() + b'{"step": 50, "train/lo')
    assert [line["step"] for line in read_metrics(path)] == [10, 20, 30, 40]
    with MetricsLog(path, resume_step=20) as log:
        log.append(30, {"train/loss": float("inf")})
    assert read_metrics(path) == [
        {"step": 10, "train/loss": 10.0},
        {"step": 20, "train/loss": 20.0},
        {"step": 30, "train/loss": None},
    ]


def test_metrics_fresh_start_drops_everything(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path).append(1, {"a": 1})
    MetricsLog(path).close()
    assert read_metrics(path) == []
    assert read_metrics(tmp_path / "absent.jsonl") == []


@given(steps=st.integers(1, 8), kept=st.integers(0, 9), torn=st.integers(0, 10))
def test_metrics_after_any_kill(
    tmp_path_factory: pytest.TempPathFactory, steps: int, kept: int, torn: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    with MetricsLog(path) as log:
        for step in range(1, steps + 1):
            log.append(step, {"x": step})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - torn])
    survivors = [line["step"] for line in read_metrics(path)]
    MetricsLog(path, resume_step=kept).close()
    assert [line["step"] for line in read_metrics(path)] == [step for step in survivors if step <= kept]
    assert path.read_bytes() in (b"", *(whole[: i + 1] for i, c in enumerate(whole) if c == 10))


def test_runs_imports_neither_torch_nor_lightning() -> None:
    heavy = "{'torch', 'pytorch_lightning', 'numpy'}"
    code = f"import sys, retrieval.run.directory; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
