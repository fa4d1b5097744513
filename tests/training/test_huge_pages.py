"""Memory that is used again and again moves into huge pages; when, and that it does."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from retrieval.run import heap
from retrieval.run.heap import HugePages, mover, private_memory
from retrieval.training.memory import ALLOWANCE, FIRST_STEPS, GROWTH, HeapCallback


class Pieces(heap.Mover):
    """Pieces that a test sets, and those that were moved."""

    def __init__(self) -> None:
        self.there: set[int] = set()
        self.moved: list[set[int]] = []

    def pieces(self) -> set[int]:
        return set(self.there)

    def move(self, pieces: Iterable[int]) -> None:
        self.moved.append(set(pieces))


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Pieces:
    """The memory of the process, which does not move."""
    found = Pieces()
    monkeypatch.setattr(heap, "mover", lambda: found)
    return found


def test_it_moves_what_came_when_rounds_doubled(memory: Pieces) -> None:
    memory.there = {0, 2}  # was there before
    pages = HugePages(4)
    for number in range(1, 17):
        memory.there.add(10 * number)
        pages.round_done()
    assert memory.moved == [
        {10, 20, 30, 40},
        {50, 60, 70, 80},
        {90, 100, 110, 120, 130, 140, 150, 160},
    ]
    memory.there = {0, 2, 10}
    pages.again()
    for _ in range(9):
        pages.round_done()
    assert memory.moved[3:] == [{10}, set()]


def test_nothing_without_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "mover", lambda: None)
    pages = HugePages(1)
    pages.round_done()
    pages.again()


@pytest.mark.parametrize(
    ("enabled", "found"),
    [("always madvise [never]", False), ("always [madvise] never", True), ("[always] madvise never", True)],
)
def test_the_owner_of_the_machine_is_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enabled: str, found: bool
) -> None:
    monkeypatch.setattr(heap, "HUGE_PAGES", tmp_path)
    monkeypatch.setattr(heap, "_c_function", lambda *_: lambda *_: 0)
    assert mover() is None  # no such files, as on another system
    (tmp_path / "enabled").write_text(enabled + "\n")
    (tmp_path / "hpage_pmd_size").write_text("2097152\n")
    assert (mover() is not None) == found


def test_training_moves_after_its_first_steps_and_after_a_trim(memory: Pieces) -> None:
    callback = HeapCallback()
    callback.trim = lambda pad: 1
    callback.process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=resident))
    module = SimpleNamespace(device=torch.device("cpu"))

    def step() -> bool:
        before = len(memory.moved)
        callback.on_train_batch_end(None, module, None, None, 0)
        return len(memory.moved) > before

    resident = 2**30
    assert [number for number in range(1, 70) if step()] == [FIRST_STEPS, 2 * FIRST_STEPS, 4 * FIRST_STEPS]
    resident = int(GROWTH * 2**30 + ALLOWANCE) + 2**20
    assert not step()  # it is trimmed
    resident = 2**30
    assert [number for number in range(1, 20) if step()] == [FIRST_STEPS]


MOVED = """
import ctypes, mmap, re
from pathlib import Path
from retrieval.run import heap

huge_pages = heap.HugePages(1)
PIECE = int((heap.HUGE_PAGES / "hpage_pmd_size").read_text())
libc = ctypes.CDLL(None)

def huge(address):
    # Of the mapping that the address lies in.
    inside = False
    for line in Path("/proc/self/smaps").read_text(errors="replace").splitlines():
        if place := re.match("([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(place[1], 16) <= address < int(place[2], 16)
        elif inside and line.startswith("AnonHugePages:"):
            return int(line.split()[1]) * 1024 // PIECE

def block(pieces):
    made = mmap.mmap(-1, (pieces + 1) * PIECE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    made.madvise(mmap.MADV_NOHUGEPAGE)
    place = ctypes.addressof(ctypes.c_char.from_buffer(made))
    return made, -(-place // PIECE) * PIECE - place

control, start = block(1)
control[start : start + PIECE] = b"x" * PIECE
control.madvise(mmap.MADV_HUGEPAGE)
address = ctypes.addressof(ctypes.c_char.from_buffer(control)) + start
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
known = libc.madvise(address, PIECE, heap.MADV_COLLAPSE) == 0

kept, start = block(6)
for piece in (1, 2, 4):  # the first is missing, as is one between, and one has a single page
    kept[start + piece * PIECE : start + (piece + 1) * PIECE] = bytes([piece]) * PIECE
kept[start + 5 * PIECE] = 5
kept.madvise(mmap.MADV_HUGEPAGE)
address = ctypes.addressof(ctypes.c_char.from_buffer(kept)) + start
before = huge(address)
huge_pages.round_done()
moved = huge(address) - before
parts = {piece: kept[start + piece * PIECE : start + (piece + 1) * PIECE] for piece in (1, 2, 4)}
same = all(part == bytes([piece]) * PIECE for piece, part in parts.items())
print(known, moved, same)
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc here")
def test_private_memory_is_what_no_file_backs() -> None:
    block = torch.ones(1_000_000)
    inside = [first <= block.data_ptr() and block.data_ptr() < last for first, last in private_memory()]
    assert inside.count(True) == 1
    assert all(first < last for first, last in private_memory())


@pytest.mark.skipif(mover() is None, reason="no huge pages here")
def test_pieces_that_are_there_are_moved_and_keep_what_they_hold() -> None:
    done = subprocess.run([sys.executable, "-c", MOVED], capture_output=True, text=True, check=True)
    known, moved, same = done.stdout.split()
    if known == "False":
        pytest.skip("this Linux does not know MADV_COLLAPSE, or has no huge page free")
    assert (moved, same) == ("3", "True")


def test_a_list_of_mappings_that_cannot_be_read_moves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("enabled", "[always] madvise never"), ("hpage_pmd_size", "2097152")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(heap, "HUGE_PAGES", tmp_path)
    monkeypatch.setattr(heap, "PROCESS", tmp_path)
    monkeypatch.setattr(heap, "_c_function", lambda *_: pytest.fail)
    found = mover()
    assert found is not None
    assert found.pieces() == set()  # there is no such file
    file = b"7f00-7f01 rw-p 00000000 00:01 77 /a name\x0c of \xff bytes\n"
    (tmp_path / "maps").write_bytes(file + b"10000-20000 rw-p 00000000 00:00 0 [heap]\n")
    assert private_memory() == [(0x10000, 0x20000)]
    (tmp_path / "maps").write_bytes(b"nothing that is known\n")
    assert found.pieces() == set()


def test_pages_too_large_to_be_free_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "HUGE_PAGES", tmp_path)
    (tmp_path / "enabled").write_text("[always] madvise never")
    (tmp_path / "hpage_pmd_size").write_text(str(512 * 2**20))
    assert mover() is None
