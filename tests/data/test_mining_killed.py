"""kill -9 in the middle of mining: no broken entry in the cache, and the next run mines what was due."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from retrieval.data.cache import is_complete
from retrieval.data.collection import open_collection
from retrieval.data.negatives import NegativeLists
from retrieval.search import mining
from retrieval.search.mining import mine
from tests.data.conftest import WriteCollection

MINER = """
import sys, time
from pathlib import Path
from retrieval.search import mining
from retrieval.data.collection import open_collection

folder, cache, lists = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
mining._QUERIES_A_CHUNK = 10
add, finish = mining.ListWriter.add, mining.ListWriter.finish

def pause():
    print("paused", flush=True)
    time.sleep(120)

def slow_add(writer, *arguments):
    added = add(writer, *arguments)
    if writer.done == lists:
        writer._rows.flush()
        pause()
    return added

def slow_finish(writer, about):
    finished = finish(writer, about)
    pause()
    return finished

mining.ListWriter.add, mining.ListWriter.finish = slow_add, slow_finish
mining.mine(open_collection(folder, cache), "bm25", 5, cache)
"""
"""Mines ten queries at a time and stops after so many lists, or when all is written but not yet renamed."""


@pytest.mark.parametrize("lists", [30, *(pytest.param(n, marks=pytest.mark.slow) for n in (10, 1000))])
def test_a_killed_miner_leaves_no_entry_and_the_next_one_mines_the_same(
    write_collection: WriteCollection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: int
) -> None:
    words = [
        f"{a}{b}" for a in ("red", "blue", "green", "old", "new") for b in ("car", "boat", "tree", "pie")
    ]
    passages = {f"p{n}": f"{words[n % 20]} {words[n * 7 % 20]} {words[n * 3 % 20]}" for n in range(80)}
    queries = {f"q{n}": f"{words[n % 20]} {words[n * 3 % 20]}" for n in range(40)}
    folder = write_collection("yard", passages, queries, train=[(f"q{n}", f"p{n}", 1) for n in range(40)])
    cache = tmp_path / "disturbed"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    miner = subprocess.Popen(
        [sys.executable, "-c", MINER, str(folder), str(cache), str(lists)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert miner.stdout is not None
    assert miner.stdout.readline() == "paused\n"
    miner.send_signal(signal.SIGKILL)
    miner.communicate()
    assert miner.returncode == -signal.SIGKILL

    # What it wrote is there under a temporary name, and under no other.
    [left] = [path for path in (cache / "negatives").iterdir() if path.is_dir()]
    assert ".tmp-" in left.name
    assert (left / "manifest.json").exists() == (lists == 1000)
    partial = np.load(left / "rows.npy")

    mined: list[int] = []
    write_lists = mining.write_lists
    monkeypatch.setattr(mining, "write_lists", lambda *given: mined.append(1) or write_lists(*given))
    again = mine(open_collection(folder, cache), "bm25", 5, cache)
    assert mined == [1]
    assert again.parent == left.parent
    assert is_complete(again)
    assert [path for path in again.parent.iterdir() if path.is_dir()] == [again]

    undisturbed = mine(open_collection(folder, tmp_path / "calm"), "bm25", 5, tmp_path / "calm")
    found, expected = NegativeLists.open(again), NegativeLists.open(undisturbed)
    assert again.name == undisturbed.name
    assert found.counts == expected.counts
    assert expected.counts["kept"] > 100
    assert (partial[:lists] == expected.rows[:lists]).all()
    assert not partial[lists:].any()
    for name in ("query_rows", "rows", "scores"):
        assert (again / f"{name}.npy").read_bytes() == (undisturbed / f"{name}.npy").read_bytes(), name
