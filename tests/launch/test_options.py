"""Options of a launcher: names and numbers that nobody can use are refused in a line."""

from __future__ import annotations

from typing import Any

import pytest

from retrieval.errors import ConfigError
from retrieval.run.messages import explain
from sweeps.launch.clusters import BatchOptions, RayOptions
from sweeps.launch.options import split
from sweeps.launch.sweep import Options
from tests.end_to_end.conftest import composed


def test_each_class_gets_its_own() -> None:
    own, rest = split({"slots": 2, "threads": None, "cluster": "local", "chunk": 3}, Options, BatchOptions)
    assert own == {"slots": 2, "threads": None}
    assert rest == {"cluster": "local", "chunk": 3}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"slot": 2}, r"no key hydra\.launcher\.slot \(did you mean slots\?\); valid: .*\.slots, hydra"),
        ({"slots": "abc"}, "slots=abc is out of range; give a whole number from 1 or null"),
        ({"slots": 0}, "slots=0 is out of range"),
        ({"threads": True}, "threads=True is out of range"),
        ({"chunk": None}, "chunk=None is out of range; give a whole number from 1$"),
        ({"wait": "no"}, "wait=no is no truth value; give true or false$"),
        ({"requeues": -1}, "requeues=-1 is out of range; give a whole number from 0$"),
    ],
)
def test_what_cannot_be_used_is_named(given: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        split(given, Options, BatchOptions)


def test_shares_of_a_gpu_are_no_counts() -> None:
    assert split({"num_gpus": 0.5}, Options, RayOptions)[1] == {"num_gpus": 0.5}


def test_an_unknown_key_of_the_launcher_is_told_the_valid_ones() -> None:
    with pytest.raises(Exception, match="slot") as raised:
        composed("hydra.launcher.slot=2")
    assert "no key hydra.launcher.slot" in str(explain(raised.value))
