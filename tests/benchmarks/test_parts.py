"""What competes on each device; nothing is timed."""

from __future__ import annotations

import sys

import pytest

from benchmarks import cells, machine
from benchmarks.contest import OURS, Match
from benchmarks.parts import OF_DEVICE, PARTS, Options


def matches(device: str, monkeypatch: pytest.MonkeyPatch, *parts: str) -> list[Match]:
    monkeypatch.setattr(machine, "automatic", lambda device: "bf16")
    options = Options(("tiny", "mini", "base"), 1000, device)
    return [match for part in parts or OF_DEVICE[device] for match in PARTS[part](options)]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_part_has_ours_and_another(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for match in matches(device, monkeypatch):
        assert len(match.contestants) > len(match.references) >= 1, match.work


def test_a_gpu_trains_each_size_as_compiled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found = matches("cuda", monkeypatch, "training")
    assert {match.work.split(",")[0] for match in found} == {"tiny", "mini", "base"}
    assert all(f"{OURS} bf16, compiled" in match.contestants for match in found)


@pytest.mark.parametrize(("device", "count"), [("cpu", 2), ("cuda", 8)])
def test_cells_side_by_side_are_processes_of_one_thread(
    device: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    class Cell:
        def __init__(self, command: list[str], *, env: dict[str, str], **_: object) -> None:
            asked.append([*command[3:], env["OMP_NUM_THREADS"]])

        def communicate(self) -> tuple[str, None]:
            return "a line\n2.5\n", None

    monkeypatch.setattr(cells.subprocess, "Popen", Cell)
    assert cells.side_by_side("tiny", "bf16", device) == 2.5 * count
    assert asked == [["tiny", "1", "bf16", device, "1"]] * count


@pytest.mark.slow
def test_a_cell_prints_its_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    assert cells.one_after_the_other("tiny", "32") > 0
