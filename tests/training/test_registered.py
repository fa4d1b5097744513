"""Strategies and rules of ω are found without PyTorch, and a bad configuration is refused without it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from retrieval.config.attack import ATTACKS
from retrieval.config.registry import Registry
from retrieval.config.strategy import PERTURBATIONS, RULES, STRATEGIES
from tests.conftest import REPOSITORY

LIGHT = """
import sys
from hydra import compose, initialize_config_dir
from retrieval.config import register_schema
from retrieval.config.validation import validate
from retrieval.errors import ConfigError
register_schema()
with initialize_config_dir("{conf}", version_base="1.3"):
    config = compose("config", ["data=synthetic", "strategy=pareto", "strategy.rule=mgda"])
try:
    validate(config)
except ConfigError as error:
    print(error)
heavy = {{"torch", "scipy", "pytorch_lightning"}} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_strategy_is_refused_before_anything_heavy_is_imported() -> None:
    code = LIGHT.format(conf=REPOSITORY / "conf")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert "strategy.rule=mgda needs the gradients of both losses" in done.stdout


@pytest.mark.parametrize(
    ("registry", "folder"),
    [
        (STRATEGIES, "training.strategies"),
        (RULES, "training.omega.rules"),
        (PERTURBATIONS, "training.perturbations"),
        (ATTACKS, "evaluation.attacks"),
    ],
)
def test_every_part_is_the_class_of_its_name_and_says_what_it_is(
    registry: Registry[type], folder: str
) -> None:
    package = f"retrieval.{folder}."
    for name, kind in registry.items():
        assert kind.name == name  # type: ignore[attr-defined]
        assert kind.__doc__
        assert kind.__module__.startswith(package)
