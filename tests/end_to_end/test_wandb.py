from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.pipeline import run_cell
from tests.end_to_end.conftest import Compose

QUICK = ("logger=wandb", "eval=none", "train.steps=4", "trainer.log_every=2")


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))


def test_two_runs_in_one_process_are_two_offline_runs(small: Compose, tmp_path: Path) -> None:
    for seed in (1, 2):
        run_cell(small(*QUICK, f"seed={seed}"))
    import wandb

    assert wandb.run is None
    folders = sorted((tmp_path / "runs").glob("*/wandb/offline-run-*"))
    assert len(folders) == 2
    assert len({folder.name.rsplit("-", 1)[1] for folder in folders}) == 2
    for folder in folders:
        data = list(folder.glob("run-*.wandb"))
        assert data
        assert data[0].stat().st_size > 0


def test_an_unreachable_server_does_not_stop_a_run(
    small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    result = run_cell(small(*QUICK, "logger.timeout=2"))
    assert result["strategy"] == "standard"
    assert list((tmp_path / "runs").glob("*/wandb/offline-run-*"))
    for path in (tmp_path / "runs").rglob("*"):
        if path.is_file():
            assert b"0" * 40 not in path.read_bytes(), path
