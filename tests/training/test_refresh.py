"""Self-mined negatives inside whole runs: refreshed when due, exact on resume, nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import pipeline
from retrieval.data.negatives import NegativeLists
from retrieval.training.callbacks import CheckpointCallback
from retrieval.training.refresh import RefreshCallback
from tests.end_to_end.conftest import composed, small  # noqa: F401

HARD = (
    "strategy.hard.depth=6",
    "strategy.hard.count=2",
    "strategy.hard.refresh=3",
    "train.steps=12",
    "eval=none",
    "trainer.checkpoint_every=2",
    "trainer.checkpoint_seconds=0",
)


class Killed(Exception):
    """Stands for a kill: nothing after it runs."""


def lines(result: dict[str, Any], config: Any) -> list[dict[str, float]]:
    path = Path(config.runs) / result["run"] / "metrics.jsonl"
    keys = ("step", "train/loss", "train/lr")
    return [{key: line[key] for key in keys} for line in map(json.loads, path.read_text().splitlines())]


@pytest.fixture
def mined(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps after which the model mined."""
    steps: list[int] = []
    original = RefreshCallback.mine

    def mine(self: RefreshCallback, encoder: Any, folder: Path, step: int) -> None:
        steps.append(step)
        original(self, encoder, folder, step)
        lists = NegativeLists.open(folder)
        assert (lists.rows >= 0).any()

    monkeypatch.setattr(RefreshCallback, "mine", mine)
    return steps


@pytest.mark.parametrize("killed_after", [6, 7, 8, 12])
def test_a_resumed_run_repeats_the_uninterrupted_one(
    small: Any,  # noqa: F811
    tmp_path: Path,
    mined: list[int],
    monkeypatch: pytest.MonkeyPatch,
    killed_after: int,
) -> None:
    whole = small("strategy=hard-negative", *HARD, f"runs={tmp_path / 'whole'}")
    expected = pipeline.run_cell(whole)
    assert mined == [3, 6, 9]
    assert expected["negatives/queries"] > 0

    broken = small("strategy=hard-negative", *HARD, f"runs={tmp_path / 'broken'}")
    original = CheckpointCallback.on_train_batch_end

    def kill(self: CheckpointCallback, trainer: Any, *rest: Any) -> None:
        original(self, trainer, *rest)
        if trainer.global_step == killed_after:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointCallback, "on_train_batch_end", kill)
        with pytest.raises(Killed):
            pipeline.run_cell(broken)
    run = tmp_path / "broken" / expected["run"]
    kept = {path.name for path in (run / "negatives").iterdir() if path.is_dir()}
    assert kept <= {"0", "3", "6", "9"}
    result = pipeline.run_cell(broken)
    assert lines(result, broken) == lines(expected, whole)
    counts = [key for key in expected if key.startswith("negatives/")]
    assert [result[key] for key in counts] == [expected[key] for key in counts]
    assert not (run / "negatives").exists()


def test_lists_lost_between_refresh_and_checkpoint_are_mined_again(
    small: Any,  # noqa: F811
    tmp_path: Path,
    mined: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import shutil

    whole = small("strategy=hard-negative", *HARD, f"runs={tmp_path / 'whole'}")
    expected = pipeline.run_cell(whole)
    broken = small("strategy=hard-negative", *HARD, f"runs={tmp_path / 'broken'}")
    original = CheckpointCallback.on_train_batch_end

    def kill(self: CheckpointCallback, trainer: Any, *rest: Any) -> None:
        original(self, trainer, *rest)
        if trainer.global_step == 6:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointCallback, "on_train_batch_end", kill)
        with pytest.raises(Killed):
            pipeline.run_cell(broken)
    shutil.rmtree(tmp_path / "broken" / expected["run"] / "negatives" / "6")
    del mined[:]
    assert lines(pipeline.run_cell(broken), broken) == lines(expected, whole)
    assert mined == [6, 9]


def test_denoising_filters_refreshed_lists_too(small: Any, mined: list[int]) -> None:  # noqa: F811
    result = pipeline.run_cell(small("strategy=denoising", *HARD, "strategy.denoise.value=0.2"))
    assert mined == [3, 6, 9]
    assert result["negatives/judged"] == result["negatives/kept"] + result["negatives/denoised"]
    assert result["negatives/denoised"] > 0


class Model:
    """Says which generation was loaded."""

    def __init__(self, refresh: int) -> None:
        self.refresh = refresh
        self.counts = {"negatives/kept": 7}

    def generation(self, step: int) -> int:
        return max(0, step - 1) // self.refresh


def test_lists_are_kept_as_long_as_a_checkpoint_may_need_them(tmp_path: Path) -> None:
    callback = RefreshCallback(None, Model(10), tmp_path, 0)  # type: ignore[arg-type]
    for step in (50, 100, 150, 200):
        callback.step = step
        state = callback.state_dict()
    assert state == {"checkpoints": [100, 150, 200], "counts": {"negatives/kept": 7}}
    for step in range(10, 240, 10):
        (tmp_path / str(step)).mkdir()
        (tmp_path / f"{step}.lock").touch()
    callback._prune(230)
    # A batch of step s is drawn from the lists mined at the last refresh before s.
    expected = {"90", "140", "190", "220", "230"}
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == expected
    assert {path.stem for path in tmp_path.glob("*.lock")} == expected
    assert np.all([callback.negatives.generation(step) * 10 == step - 10 for step in (100, 150, 200)])
