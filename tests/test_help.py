"""``python train.py --help [GROUP]``."""

from __future__ import annotations

import re

import pytest

from retrieval.config.data import SOURCES
from retrieval.config.help import CONF, asked, page
from retrieval.config.knobs import groups
from retrieval.config.schema import Config, settings_of
from retrieval.errors import ConfigError

OVERVIEW = page()
TOPICS = [*groups(Config), "suite", "experiment", "hydra/launcher", "hydra/sweeper"]


@pytest.mark.parametrize("source", SOURCES)
def test_every_key_stands_with_its_help_default_and_valid_values(source: str) -> None:
    plain = " ".join(OVERVIEW.split())
    for setting in settings_of(source, ("wsra",)):
        key, valid = setting.key, setting.knob.valid
        assert f" {key}=" in plain
        assert " ".join(setting.knob.help.split()) in plain
        assert re.search(rf" {re.escape(key)}=[^()]*\({re.escape(valid)}\)", plain) or not valid
    assert "model.layers=4 (from 1 to 96)" in plain
    assert "train.precision=auto (auto, 32, bf16)" in plain
    assert "eval.bm25=true (true, false)" in plain


def test_nothing_internal_and_every_option_is_shown() -> None:
    assert "_schema" not in OVERVIEW
    for part in ("python train.py -m", "Exit status", "submitit_slurm", "beir/NAME", "bert-tiny"):
        assert part in OVERVIEW
    assert max(map(len, OVERVIEW.splitlines())) <= 110


@pytest.mark.parametrize("topic", TOPICS)
def test_a_group_is_explained_with_all_its_options_and_keys(topic: str) -> None:
    text = page(topic)
    assert "_schema" not in text
    for path in (CONF / topic).glob("*.yaml"):
        assert f"  {topic}={path.stem}\n      " in text
    if topic in groups(Config):
        for setting in settings_of("synthetic", ("wsra",)):
            assert (f"\n  {setting.key}=" in text) == setting.key.startswith(f"{topic}.")


def test_keys_of_a_source_and_of_a_launcher_are_explained() -> None:
    assert "with data=synthetic" in page("data")
    assert "with attack=wsra:\n  attack.words=10" in page("attack")
    assert "data.topics=50   (1 or more)\n      Topics" in page("data")
    assert "NAME: msmarco, trec-covid" in page("data")
    assert "hydra.launcher.chunk=1\n          Cells of a task" in page("hydra/launcher")
    assert "hydra.launcher.resources.partition=null" in page("hydra/launcher")


def test_an_unknown_group_is_one_line_with_the_valid_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"--help stratgy: no such group \(did you mean strategy\?\); valid: model"
    ):
        page("stratgy")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("", (False, None)),
        ("seed=1 -m", (False, None)),
        ("--help", (True, None)),
        ("-h", (True, None)),
        ("data=local --help", (True, None)),
        ("--help strategy", (True, "strategy")),
        ("--help=strategy", (True, "strategy")),
        ("--help hydra/launcher", (True, "hydra/launcher")),
        ("--help seed=1", (True, None)),
        ("--help -m", (True, None)),
    ],
)
def test_what_is_asked(line: str, found: tuple[bool, str | None]) -> None:
    assert asked(line.split()) == found
