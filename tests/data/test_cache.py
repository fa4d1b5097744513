"""The cache stays valid with concurrent builders and at any kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from retrieval.data.cache import MARKER, build_once, digest, is_complete

BUILDER = """
import sys, time
from pathlib import Path
from retrieval.data.cache import build_once

def build(folder):
    with (Path(sys.argv[2])).open("a") as log:
        log.write("built\\n")
    (folder / "part").write_text("half")
    if len(sys.argv) > 3:
        print("half-way", flush=True)
        time.sleep(60)
    (folder / "part").write_text("whole")
    time.sleep(0.2)

build_once(Path(sys.argv[1]), build, describe="the test's content")
"""


def start(folder: Path, log: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER, str(folder), str(log), *more]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_digest_ignores_the_order_of_keys_and_nothing_else() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})
    assert digest([1, 2]) != digest([2, 1])
    # sha256 of the two characters {}
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_digest_refuses_what_has_no_json_form() -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))
    with pytest.raises(TypeError):
        digest({1, 2})


def test_builds_once_and_then_only_reads(tmp_path: Path) -> None:
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "nested").mkdir()
        (folder / "nested" / "file").write_text("content")

    for _ in range(3):
        assert build_once(tmp_path / "deep" / "entry", build, describe="x") == tmp_path / "deep" / "entry"
    assert len(built) == 1
    assert (tmp_path / "deep" / "entry" / "nested" / "file").read_text() == "content"
    assert json.loads((tmp_path / "deep" / "entry" / MARKER).read_text())["files"] == {"nested/file": 7}


def test_a_failing_build_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "part").write_text("half")
        raise RuntimeError("no space")

    with pytest.raises(RuntimeError, match="no space"):
        build_once(tmp_path / "entry", fail, describe="x")
    assert [path.name for path in tmp_path.iterdir()] == ["entry.lock"]
    build_once(tmp_path / "entry", lambda folder: (folder / "part").touch(), describe="x")
    assert is_complete(tmp_path / "entry")


@pytest.mark.parametrize("damage", ["truncated", "deleted", "no marker", "broken marker"])
def test_a_damaged_entry_is_built_again(tmp_path: Path, damage: str) -> None:
    def build(folder: Path) -> None:
        (folder / "file").write_text("content")

    entry = build_once(tmp_path / "entry", build, describe="x")
    if damage == "truncated":
        (entry / "file").write_text("cont")
    elif damage == "deleted":
        (entry / "file").unlink()
    elif damage == "no marker":
        (entry / MARKER).unlink()
    else:
        (entry / MARKER).write_text('{"files": ')
    assert not is_complete(entry)
    build_once(tmp_path / "entry", build, describe="x")
    assert (entry / "file").read_text() == "content"
    assert is_complete(entry)


def test_threads_build_once(tmp_path: Path) -> None:
    built: list[int] = []

    def build(folder: Path) -> None:
        built.append(1)
        time.sleep(0.2)
        (folder / "file").touch()

    entry = tmp_path / "entry"
    threads = [
        threading.Thread(target=build_once, args=(entry, build), kwargs={"describe": "x"}) for _ in "1234"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == [1]


def test_processes_build_once(tmp_path: Path) -> None:
    processes = [start(tmp_path / "entry", tmp_path / "log") for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    assert (tmp_path / "log").read_text() == "built\n"
    assert (tmp_path / "entry" / "part").read_text() == "whole"
    for process in processes:
        process.communicate()


def test_a_killed_builder_is_replaced_and_its_leftovers_removed(tmp_path: Path) -> None:
    killed = start(tmp_path / "entry", tmp_path / "log", "sleep")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "half-way\n"
    waiting = start(tmp_path / "entry", tmp_path / "log")
    assert waiting.stderr is not None
    assert waiting.stderr.readline() == "waiting for another process: the test's content\n"
    assert not (tmp_path / "entry").exists()
    killed.send_signal(signal.SIGKILL)
    assert waiting.wait(timeout=60) == 0
    assert (tmp_path / "entry" / "part").read_text() == "whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["entry", "entry.lock", "log"]
    for process in (killed, waiting):
        process.communicate()


def test_leftovers_of_other_builds_are_removed_unless_their_builder_lives(tmp_path: Path) -> None:
    killed, alive = (start(tmp_path / name, tmp_path / "log", "sleep") for name in ("killed", "alive"))
    for process in (killed, alive):
        assert process.stdout is not None
        assert process.stdout.readline() == "half-way\n"
    killed.kill()
    killed.communicate()
    build_once(tmp_path / "entry", lambda folder: (folder / "file").touch(), describe="x")
    [left] = tmp_path.glob("*.tmp-*")
    assert left.name.startswith("alive.tmp-")
    alive.kill()
    alive.communicate()
