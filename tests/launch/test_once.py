"""A plan counts the measurement of the untrained model once for cells that start from the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.launch.compose import compose_command
from sweeps.launch.plan import plan_sweep
from tests.checkpoints import checkpoint_folder

GRID = ("eval.untrained=true", "data.frac=0.5,1", "seed=1,2", "attack=none")


def evaluations(*overrides: str) -> dict[tuple[float, int], float]:
    """Planned FLOPs of evaluation by fraction and seed."""
    plan = plan_sweep(compose_command([*GRID, *overrides]), with_data=False)
    return {(cell.frac, cell.seed): cell.evaluation_flops for cell in plan.cells}


def test_from_scratch_it_is_measured_once_a_seed(tmp_path: Path) -> None:
    found = evaluations("model=bert-tiny", f"runs={tmp_path}", f"cache={tmp_path}")
    without = evaluations("model=bert-tiny", f"runs={tmp_path}", f"cache={tmp_path}", "eval.untrained=false")
    assert found == pytest.approx(
        {cell: flops * (2 if cell[0] == 0.5 else 1) for cell, flops in without.items()}
    )


def test_a_checkpoint_is_measured_once(tmp_path: Path) -> None:
    folder = checkpoint_folder("bert", tmp_path / "bert")
    start = ("model=bert", "model.init=pretrained", f"model.pretrained={folder}", f"cache={tmp_path}")
    found = evaluations(*start, f"runs={tmp_path}")
    assert sorted(found.values())[:3] == [min(found.values())] * 3
    assert found[0.5, 1] == pytest.approx(2 * found[1, 2])
