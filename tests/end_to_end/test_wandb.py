"""The W&B mirror against a local stub server: what it holds, and that it never stops or slows a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import wandb

from retrieval.pipeline import run_cell
from retrieval.run.tracking import has_wandb_key, result_table
from tests.conftest import REPOSITORY
from tests.end_to_end.conftest import Compose
from tests.end_to_end.wandb_stub import Mood, StubServer, stub_server

QUICK = ("logger=wandb", "train.steps=4", "trainer.log_every=2", "logger.timeout=4")
KEY = "deadbeef" * 5


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    wandb.teardown()  # a run that a test gave up keeps its id until its process ends


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[StubServer]:
    with stub_server(getattr(request, "param", "well")) as stub:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", stub.address)
        yield stub


def offline_runs(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "runs").glob("*/wandb/offline-run-*"))


def assert_no_key_below(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_two_runs_in_one_process_are_two_offline_runs(small: Compose, tmp_path: Path) -> None:
    for seed in (1, 2):
        run_cell(small(*QUICK, "eval=none", f"seed={seed}"))
    assert wandb.run is None
    folders = offline_runs(tmp_path)
    assert len(folders) == 2
    assert len({folder.name.rsplit("-", 1)[1] for folder in folders}) == 2
    for folder in folders:
        data = list(folder.glob("run-*.wandb"))
        assert data
        assert data[0].stat().st_size > 0


def test_a_server_gets_group_tags_type_metrics_omega_and_result(
    small: Compose, tmp_path: Path, server: StubServer
) -> None:
    own = ("strategy=pareto", "strategy.rule=dro", "logger.group=grid", "logger.tags=[a,b]")
    result = run_cell(small(*QUICK, *own))
    created = server.upserts[0]
    assert (created["groupName"], created["tags"], created["jobType"]) == ("grid", ["a", "b"], "train")
    assert created["displayName"] == result["run"]
    assert [row["step"] for row in server.history if "train/loss" in row] == [2, 4]
    assert all(0 < row["train/omega"] < 1 for row in server.history if "train/loss" in row)
    sent = json.dumps(server.requests)
    for part in ("eff/contrastive_entropy", "train/*", "val/*", "media/table/results"):
        assert part in sent, part
    assert not offline_runs(tmp_path)
    assert_no_key_below(tmp_path)


def test_a_resume_goes_on_in_the_same_wandb_run(small: Compose, tmp_path: Path, server: StubServer) -> None:
    from tests.end_to_end.test_run import terminated_at

    config = small(*QUICK, "eval=none", "train.steps=8")
    terminated_at(config, 5)
    run_cell(config)
    assert len({upsert["name"] for upsert in server.upserts if upsert.get("name")}) == 1
    assert {row["step"] for row in server.history if "train/loss" in row} == {2, 4, 6, 8}


@pytest.mark.parametrize(
    "server",
    [
        "slow",
        "page",
        401,
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("refuse", "drop", 403, 404, 429, 502)),
    ],
    indirect=True,
)
def test_a_server_in_no_mood_does_not_stop_a_run(small: Compose, tmp_path: Path, server: StubServer) -> None:
    result = run_cell(small(*QUICK, "eval=none"))
    assert result["strategy"] == "standard"
    (offline,) = offline_runs(tmp_path)
    assert not list(offline.parent.glob("run-*"))  # what the refused attempt began
    assert_no_key_below(tmp_path)
    server.mood = "well"
    upload(offline, server)
    assert [row["step"] for row in server.history if "train/loss" in row] == [2, 4]


def upload(folder: Path, server: StubServer) -> None:
    variables = {**os.environ, "WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.address}
    line = [sys.executable, "-m", "wandb", "sync", str(folder)]
    subprocess.run(line, env=variables, check=True, capture_output=True, timeout=120)


def test_what_wandb_was_told_is_heeded_and_our_keys_stand_above(
    small: Compose, tmp_path: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"PROJECT": "theirs", "TAGS": "a,b", "NOTES": "a note", "RUN_GROUP": "nightly"}
    for name, value in {**own, "DIR": str(tmp_path / "elsewhere")}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    run_cell(small(*QUICK, "eval=none"))
    run_cell(small(*QUICK, "eval=none", "seed=2", "logger.project=ours", "logger.tags=[c]", "logger.group=g"))
    first, second = (upsert for upsert in server.upserts if upsert.get("displayName"))
    assert [first[key] for key in ("project", "groupName", "tags")] == ["theirs", "nightly", ["a", "b"]]
    assert first["notes"] == "a note"
    assert [second[key] for key in ("project", "groupName", "tags")] == ["ours", "g", ["c"]]
    assert len(list((tmp_path / "elsewhere" / "wandb").glob("run-*"))) == 2
    assert not list((tmp_path / "runs").glob("*/wandb"))


@pytest.mark.parametrize(("mode", "offline"), [("offline", 1), ("disabled", 0)])
def test_the_mode_of_a_settings_file_is_heeded(
    small: Compose, tmp_path: Path, server: StubServer, mode: str, offline: int
) -> None:
    settings = (
        tmp_path / ".config" / "wandb" / "settings"
    )  # HOME is tmp_path; `wandb offline` writes the file
    settings.parent.mkdir(parents=True)
    settings.write_text(f"[default]\nmode = {mode}\n")
    run_cell(small(*QUICK, "eval=none"))
    assert len(offline_runs(tmp_path)) == offline
    assert not server.upserts


@pytest.mark.parametrize(
    "mood", ["slow", *(pytest.param(mood, marks=pytest.mark.slow) for mood in ("refuse", "drop"))]
)
def test_a_server_that_fails_in_the_middle_is_left_behind(
    small: Compose, tmp_path: Path, server: StubServer, monkeypatch: pytest.MonkeyPatch, mood: Mood
) -> None:
    from retrieval.run.tracking import Mirror

    original = Mirror.log

    def turn(self: Mirror, step: int, values: Any) -> None:
        time.sleep(1.0)  # the run is open by now, mostly
        server.mood = mood
        original(self, step, values)

    monkeypatch.setattr(Mirror, "log", turn)
    result = run_cell(small(*QUICK, "eval=none", "logger.timeout=3"))
    assert result["strategy"] == "standard"


def test_an_unreachable_server_does_not_stop_a_run(
    small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    result = run_cell(small(*QUICK, "eval=none"))
    assert result["strategy"] == "standard"
    assert offline_runs(tmp_path)
    assert_no_key_below(tmp_path)


def test_make_sync_uploads_offline_runs_once(small: Compose, tmp_path: Path) -> None:
    run_cell(small(*QUICK, "eval=none"))
    assert offline_runs(tmp_path)
    with stub_server("well") as server:
        variables = {**os.environ, "WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.address}
        ready = REPOSITORY / ".venv" / "bin" / "wandb"
        if not ready.exists():
            pytest.skip("the project's own environment is not set up")
        recipe = (REPOSITORY / "Makefile").read_text().partition("sync: $(READY)")[2].splitlines()[1]
        line = (
            recipe.strip("\t@").replace("$(RUNS)", str(tmp_path / "runs")).replace("$(BIN)/wandb", str(ready))
        )
        for _ in range(2):
            subprocess.run(line, shell=True, env=variables, check=True, capture_output=True, timeout=120)
        assert [row["step"] for row in server.history if "train/loss" in row] == [2, 4]


def test_a_key_is_found_where_the_client_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_wandb_key()
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    own = urlsplit(str(wandb.setup().settings.base_url)).netloc
    for known, server in (
        (own, None),  # where `wandb login` writes the key of the version that is installed
        ("api.wandb.ai", None),  # where earlier versions did
        ("wandb.example.org:8080", "https://wandb.example.org:8080"),
    ):
        netrc.write_text(f"machine {known} login user password {KEY}\n")
        with monkeypatch.context() as patch:
            if server is not None:
                assert not has_wandb_key()
                patch.setenv("WANDB_BASE_URL", server)
            assert has_wandb_key()


def test_the_table_has_a_row_a_test_set_and_metric() -> None:
    result = {"eff/ndcg@10": 0.5, "bm25/eff/ndcg@10": 0.4, "ood/a/mrr@10": 0.2, "cost/train_seconds": 1.0}
    columns, rows = result_table({**result, "untrained/eff/ndcg@10": 0.1})
    assert columns == ["set", "metric", "value", "bm25", "untrained"]
    assert rows == [["eff", "ndcg@10", 0.5, 0.4, 0.1], ["ood/a", "mrr@10", 0.2, None, None]]
