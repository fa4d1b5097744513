"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import os
from functools import cache as once
from functools import partial
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import settings
from omegaconf import DictConfig

from retrieval.config import register_schema
from retrieval.data.cache import build_once
from retrieval.run.resources import available_cores
from sweeps.launch.calibration import WIDTHS, Calibration, Point, calibration_folder, write_calibration

if "PYTEST_XDIST_WORKER" in os.environ:
    # There is a process of pytest a core, or one more. With more threads they would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no failure.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")

REPOSITORY = Path(__file__).resolve().parent.parent


LONGEST_FIRST = (
    "faults/test_kills.py",
    "end_to_end/test_command_line.py",
    "end_to_end/test_strategies.py",
    "end_to_end/test_omega_rules.py",
    "test_extend.py",
    "end_to_end/",
    "faults/",
    "launch/",
    "training/",
    "evaluation/",
    "data/",
    "sweeps/",
)
"""Files and folders by the time their files take; the others come last.

pytest-xdist gives a whole file to one process: a long one at the end would leave the others idle.
"""


FEW_CORES = 4


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """On few cores a process more than cores: a test that waits for a process of its own leaves one idle."""
    cores = available_cores()
    chosen = "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ
    return None if chosen or cores >= FEW_CORES else cores + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest files."""
    places = [str(REPOSITORY / "tests" / place) for place in LONGEST_FIRST]

    def rank(item: pytest.Item) -> int:
        return next((n for n, place in enumerate(places) if str(item.path).startswith(place)), len(places))

    items.sort(key=rank)


registered = once(register_schema)
"""Some hundred compositions of a session need the schema once."""


def composed(*overrides: str) -> DictConfig:
    """The configuration that ``train.py`` would get for these overrides."""
    registered()
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all runs of the session, as a user has; the processes of pytest share it.

    It knows the machine already: on a busy one, as tests make it, every sweep would probe it anew.
    """
    place = tmp_path_factory.getbasetemp()
    place = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "cache"
    known = calibration_folder(composed(f"cache={place}"))
    found = Calibration([Point(hidden, 1.0, 1.0, 0.5) for hidden in WIDTHS])
    build_once(known, partial(write_calibration, found), describe="what is known of this machine")
    return place


@pytest.fixture
def shared() -> Path:
    """Folder with real collections and tables that is not part of the project; skips where absent."""
    folder = Path(os.environ.get("PARETRIEVE_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared data folder at {folder}")
    return folder
