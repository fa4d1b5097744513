"""Disks that are full, read-only or no folder: one clear line, and the run goes on once that is mended."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from retrieval.data.arrays import new_array, scratch_array
from retrieval.errors import StorageError
from retrieval.pipeline import prepare_data, run_cell
from retrieval.run.directory import RunDirectory
from retrieval.run.storage import storage_reason
from tests import commands
from tests.conftest import REPOSITORY
from tests.end_to_end.conftest import SMALL, Compose, composed


def mount(*arguments: str) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount file systems")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(disk: Path, free: int) -> None:
    """Leave ``free`` bytes."""
    with (disk / "ballast").open("wb") as file:
        for _ in range(100):  # a heartbeat beside this may take a page between the question and the claim
            state = os.statvfs(disk)
            wanted = os.fstat(file.fileno()).st_size + state.f_bavail * state.f_frsize - free
            try:
                os.posix_fallocate(file.fileno(), 0, wanted)
                return
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    pytest.fail(f"{disk} could not be filled up to {free} bytes")


def train(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    arguments = (str(REPOSITORY / "train.py"), *overrides, *SMALL)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return commands.run(*arguments, folder=folder, environment=environment)


def result_of(config: object) -> dict[str, object]:
    result = run_cell(config)  # type: ignore[arg-type]
    return {key: value for key, value in result.items() if not key.startswith("cost/")}


@pytest.mark.parametrize(
    "free", [20_000, 200_000, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 1_500_000))]
)
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    small: Compose, tmp_path: Path, disk: Path, free: int
) -> None:
    options = ("strategy=hard-negative", "trainer.checkpoint_every=3", "trainer.checkpoint_seconds=0")
    places = (f"runs={disk / 'runs'}", f"cache={disk / 'cache'}")
    fill(disk, free)
    with pytest.raises(StorageError) as refused:
        run_cell(small(*options, *places))
    assert "\n" not in str(refused.value)
    for part in ("No space left", f"runs={disk / 'runs'}", f"cache={disk / 'cache'}", "again"):
        assert part in str(refused.value)
    (disk / "ballast").unlink()
    assert result_of(small(*options, *places)) == result_of(small(*options))


@pytest.mark.slow
def test_a_full_disk_fails_the_cells_of_a_sweep_in_one_line_each(disk: Path, cache: Path) -> None:
    fill(disk, 300_000)
    done = train(disk, "-m", f"runs={disk / 'runs'}", f"cache={cache}", "seed=1,2")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "No space left" in done.stdout + done.stderr


@pytest.mark.parametrize("what", ["runs", "cache"])
def test_a_read_only_folder_is_one_line(tmp_path: Path, disk: Path, cache: Path, what: str) -> None:
    folder = disk / what
    folder.mkdir()
    mount("-o", "remount,ro", str(disk))
    places = {"runs": tmp_path / "runs", "cache": cache, what: folder}
    with pytest.raises(Exception, match=r"Read-only|cannot write") as refused:
        run_cell(composed(*SMALL, *(f"{key}={value}" for key, value in places.items())))
    assert f"{what}=" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("what", ["runs", "cache"])
def test_a_file_in_the_place_of_a_folder_is_one_line(tmp_path: Path, cache: Path, what: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    places = {"runs": tmp_path / "runs", "cache": cache, what: tmp_path / "file"}
    done = train(tmp_path, *(f"{key}={value}" for key, value in places.items()))
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("run ")]
    assert line.startswith("error: cannot write")


def test_a_sweep_into_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = train(tmp_path, "-m", f"runs={tmp_path / 'file'}", "seed=1,2")
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: cannot read or write: Not a directory")


def test_a_finished_run_on_a_read_only_disk_still_gives_its_result(
    small: Compose, tmp_path: Path, disk: Path
) -> None:
    result = run_cell(small())
    mount("--bind", str(tmp_path / "runs"), str(disk))
    mount("-o", "remount,bind,ro", str(disk))
    try:
        assert run_cell(small(f"runs={disk}")) == result
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_preparation_says_it_too(small: Compose, disk: Path) -> None:
    fill(disk, 0)
    with pytest.raises(StorageError, match="No space left"):
        prepare_data(small(f"cache={disk / 'cache'}"))


def test_an_array_that_does_not_fit_is_an_error_and_no_signal(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        new_array(disk / "array.npy", "float32", (100, 2**20))
    with pytest.raises(OSError, match="No space left"):
        scratch_array(disk, "float32", (100, 2**20))
    array = new_array(disk / "small.npy", "float32", (10, 10))
    array[:] = 1
    assert array.sum() == 100


def test_reasons_are_found_through_libraries() -> None:
    import numpy as np
    import torch

    full = Path("/dev/full")
    if full.exists():
        writes: list[Callable[[BinaryIO], Any]] = [
            lambda file: np.save(file, np.zeros(10**6)),
            lambda file: torch.save({"a": torch.zeros(10**6)}, file),
        ]
        for write in writes:
            with pytest.raises(Exception) as refused, full.open("wb") as file:  # noqa: PT011 - any
                write(file)
            assert storage_reason(refused.value) is not None
    assert storage_reason(ValueError("x")) is None
    assert storage_reason(Exception("I/O error: No space left on device (os error 28)")) is not None


def test_the_heartbeat_outlives_a_full_disk(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.run.directory.HEARTBEAT_SECONDS", 0.01)
    run = RunDirectory(disk / "cell")
    with run.claim():
        fill(disk, 0)
        for _ in range(20):
            assert run.state() == "running"
        (disk / "ballast").unlink()
        run.finish({"a": 1})
    assert run.finished() == {"a": 1}
