"""Cells composed by setting values are those that Hydra composes from the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from retrieval.config import register_schema
from retrieval.errors import ConfigError
from sweeps.launch.compose import Composer, compose_cells

CONF = Path(__file__).resolve().parents[2] / "conf"
CELLS = [
    ["model=bert-tiny", "data.frac=0.1", "seed=3"],
    ["model=bert-base", "data.frac=0.5", "seed=3"],
    [
        "data.ood=[matplotlib]",
        "data.robust_dev=[]",
        "strategy=pareto",
        "strategy.rule=fixed",
        "strategy.omega=0.25",
    ],
    ["data=synthetic", "data.passages=300", "train.lr=null", "logger=none", "logger.group=x"],
    ["data=local", "data.path=folder", "data.robust=[a,b]", "model.pretrained='a b'", "runs=${cache}/runs"],
    ["experiment=demo", "strategy.hard.count=4", "trainer.threads=2"],
    ["attack=wsra", "attack.words=5", "+hydra.job.env_set.A=${seed}", "seed=7"],
]


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def master(loader: ConfigLoader, *overrides: str) -> DictConfig:
    return loader.load_configuration("config", list(overrides), RunMode.MULTIRUN)


@pytest.mark.parametrize("overrides", CELLS, ids=str)
def test_cells_are_hydras(loader: ConfigLoader, overrides: list[str]) -> None:
    config = master(loader)
    cell = Composer(loader, config)(overrides, 5)
    theirs = loader.load_sweep_config(config, overrides)
    with open_dict(theirs):
        environment = theirs.hydra.job.env_set
        del theirs["hydra"]
    assert cell.config == theirs
    assert OmegaConf.is_struct(cell.config)
    assert cell.environment == {str(key): str(value) for key, value in environment.items()}
    assert cell.hydra is not None
    assert (cell.hydra.job.num, cell.index) == (5, 5)


def test_one_cell_leaves_the_next_alone(loader: ConfigLoader) -> None:
    compose = Composer(loader, master(loader))
    first = compose(["seed=2", "data.ood=[matplotlib]"], 0).config
    second = compose(["seed=3"], 1).config
    assert (first.seed, list(first.data.ood)) == (2, ["matplotlib"])
    assert (second.seed, len(second.data.ood)) == (3, 3)


def test_an_error_is_hydras_own(loader: ConfigLoader) -> None:
    with pytest.raises(ConfigCompositionException, match="Could not override"):
        Composer(loader, master(loader))(["data.frak=1"], 0)


def test_the_files_are_read_once(loader: ConfigLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    config = master(loader)
    read: list[object] = []
    load = type(loader).load_sweep_config
    monkeypatch.setattr(type(loader), "load_sweep_config", lambda *a: read.append(a) or load(*a))
    jobs = [[f"model={m}", f"seed={s}"] for m in ("bert-tiny", "bert-mini") for s in range(20)]
    cells = compose_cells(loader, config, jobs)
    assert len(cells) == 40
    assert len(read) == 2


def test_where_filters(loader: ConfigLoader) -> None:
    config = master(loader, "sweep.where='size/params_total < 1e7 and seed != 2'")
    jobs = [[f"model={m}", f"seed={s}"] for m in ("bert-tiny", "bert-base") for s in (1, 2)]
    (cell,) = compose_cells(loader, config, jobs)
    assert (cell.config.model.layers, cell.config.seed, cell.index) == (2, 1, 0)
    assert cell.config.sweep.where is None
    config = master(loader, "sweep.where='seed > 9'")
    with pytest.raises(ConfigError, match="keeps none of 4 cells"):
        compose_cells(loader, config, jobs)
