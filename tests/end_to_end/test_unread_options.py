"""Options that a strategy does not read change neither its runs nor who they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from retrieval.config.strategy import STRATEGIES
from retrieval.pipeline import run_cell
from retrieval.run.identity import identity
from tests.end_to_end.conftest import Compose
from tests.end_to_end.test_run import directory_of

OTHER = {
    "base": "denoising",
    "robust": "both",
    "mixing": "loss",
    "domains": "pooled",
    "rule": "guarded",
    "goal": "eff",
    "omegas": "[0.1,0.6]",
    "trunk": "0.25",
    "coefficient": "0.5",
    "schedule": "switch",
    "measure_every": "3",
    "measure_pairs": "8",
    "eta": "0.7",
    "decay": "0.5",
    "omega_min": "0.2",
    "omega_max": "0.8",
    "budget": "extra",
    "hard": {"count": "2", "depth": "20", "refresh": "1"},
    "denoise": {"margin": "percentile", "value": "0.3"},
    "perturbation": {"kind": "noise", "rate": "0.5"},
}
"""A value other than the default of every option, but of those that ``check`` refuses without an ω."""

REFUSED = {"omega", "frontier", "mixture", "recalibrate"}
SETTINGS = {
    **{name: (f"strategy={name}",) for name in STRATEGIES if name != "pareto"},
    "pareto": ("strategy=pareto", "strategy.rule=dro"),
    "pareto over hard negatives": ("strategy=pareto", "strategy.rule=dro", "strategy.base=hard-negative"),
    "pareto on perturbations": ("strategy=pareto", "strategy.rule=dro", "strategy.robust=adversarial"),
}


def other(key: str) -> list[str]:
    """The overrides that set an option to its other value."""
    value = OTHER[key]
    if isinstance(value, dict):
        return [f"strategy.{key}.{part}={text}" for part, text in value.items()]
    return [f"strategy.{key}={value}"]


def measured(config: DictConfig) -> list[dict[str, float]]:
    """What a run logged, but for its speed."""
    lines: list[dict[str, float]] = directory_of(config).metrics()
    return [{key: line[key] for key in line if key != "train/pairs_per_second"} for line in lines]


@pytest.mark.parametrize("setting", SETTINGS)
def test_unread_options_change_nothing(small: Compose, tmp_path: Path, setting: str) -> None:
    words = (*SETTINGS[setting], "train.steps=2", "trainer.log_every=1", "eval=none")
    plain = small(*words)
    config = plain.strategy
    unread = STRATEGIES[config.name].unread_keys(dict(config)) - REFUSED
    assert unread <= OTHER.keys()
    changed = small(*words, *(override for key in sorted(unread) for override in other(key)))
    changed.runs = str(tmp_path / "changed")
    assert changed.strategy != plain.strategy
    assert directory_of(changed).name == directory_of(plain).name
    for one in (plain, changed):
        run_cell(one)
    assert measured(changed) == measured(plain)


@pytest.mark.parametrize("setting", SETTINGS)
def test_options_that_are_read_count(small: Compose, setting: str) -> None:
    plain = small(*SETTINGS[setting])
    config = plain.strategy
    for key in OTHER.keys() - STRATEGIES[config.name].unread_keys(dict(config)):
        changed = plain.copy()
        for override in other(key):  # composing each anew would take most of the time
            place, _, text = override.partition("=")
            OmegaConf.update(changed, place, yaml.safe_load(text))
        assert identity(changed, "f") != identity(plain, "f"), key


def test_a_subclass_that_does_not_say_reads_all() -> None:
    class Careless(STRATEGIES["standard"]):  # type: ignore[misc]  # a base by its name in the registry
        """It may read whatever it likes."""

    assert STRATEGIES["standard"].unread_keys({})
    assert Careless.unread_keys({}) == frozenset()
