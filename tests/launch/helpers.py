"""Configurations of stub cells and the real command around them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from retrieval import config as schema
from retrieval.data.sources.synthetic import SyntheticConfig
from sweeps.launch.compose import Composed
from sweeps.launch.sweep import Options

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent


def options(**changes: Any) -> Options:
    return Options(
        **{
            "worker": "stub_cells:run",
            "prepare": "stub_cells:prepare",
            "open": "stub_cells:open_run",
            "probe": None,
            "gpu_probe": None,
            "preload": (),
            **changes,
        }
    )


def composed(folder: Path, behaviours: list[str], **changes: Any) -> list[Composed]:
    return [
        Composed(number, [f"n={number}"], cell_config(folder, behaviour, **changes))
        for number, behaviour in enumerate(behaviours)
    ]


def cell_config(folder: Path, behaviour: str, **changes: Any) -> DictConfig:
    config = OmegaConf.structured(
        schema.Config(
            model=schema.ModelConfig(init="scratch", pretrained=behaviour, layers=2, hidden=128),
            data=SyntheticConfig(),
            strategy=schema.StrategyConfig(),
            train=schema.TrainConfig(steps=1),
            eval=schema.EvalConfig(),
            trainer=schema.TrainerConfig(accelerator="cpu"),
            logger=schema.LoggerConfig(),
            runs=str(folder / "runs"),
            cache=str(folder / "cache"),
        )
    )
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value)
    assert isinstance(config, DictConfig)
    return config


def command(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """``python train.py -m …`` with stub cells, in its own process group."""
    launcher = (
        [] if any(part.startswith("hydra/launcher=") for part in overrides) else ["hydra/launcher=local"]
    )
    stubs = {"worker": "run", "prepare": "prepare", "open": "open_run"}
    stub = [f"+hydra.launcher.{name}=stub_cells:{function}" for name, function in stubs.items()]
    return subprocess.Popen(
        [
            sys.executable,
            "train.py",
            "-m",
            "data=synthetic",
            *launcher,
            *stub,
            "+hydra.launcher.probe=null",
            "+hydra.launcher.preload=[]",
            "hydra.launcher.slots=2",
            f"runs={folder / 'runs'}",
            f"cache={folder / 'cache'}",
            *overrides,
        ],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(HERE), "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
