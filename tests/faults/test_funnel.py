"""Every command ends in one line and the same exit status, whatever a person did."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf.errors import ConfigKeyError

from retrieval import evaluate
from retrieval.errors import ConfigError, DataError, DownloadError
from retrieval.run.funnel import exit_status
from sweeps.cli import main
from tests.conftest import REPOSITORY

NOWHERE = "/proc/x/out.json"
WRITERS = [
    "collect", "fit", "frontier", "mixture", "efficiency", "compare", "report", "sensitivity",
    "rerun RUN", "export RUN", "allocate --budget 1 --annotation 1",
]  # fmt: skip


def raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def one_line(text: str) -> str:
    (line,) = text.splitlines()
    assert line.startswith("error: "), text
    return line


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("x"), 2),
        (DataError("two\nlines"), 2),
        (ConfigKeyError("Key 'frak' is not in struct"), 2),
        (DownloadError("x"), 1),
        (BrokenPipeError(errno.EPIPE, "x"), 1),
        *((OSError(number, "x", "file"), 1) for number in (errno.ENOSPC, errno.EACCES, errno.EROFS)),
        *((OSError(number, "x", "file"), 1) for number in (errno.ENOENT, errno.EISDIR)),
    ],
    ids=repr,
)
def test_what_a_person_can_mend(
    error: Exception, status: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.run.funnel._silence", lambda: None)
    assert exit_status(raising(error)) == status
    one_line(capsys.readouterr().err)


def test_bugs_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_status(raising(ZeroDivisionError()))


def test_statuses_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert [exit_status(raising(SystemExit(code))) for code in (None, 3, "x")] == [0, 3, 1]
    assert [exit_status(lambda: 1), exit_status(lambda: None)] == [1, 0]
    assert exit_status(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("command", WRITERS)
def test_an_output_is_tried_before_the_work(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--out", NOWHERE]) == 2
    assert f"cannot write {NOWHERE}" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    "option", ["sweeps plan --json", "sweeps mixture --figures", "--scores", "--attacked"]
)
def test_other_outputs_are_tried_too(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    run, words = (main, option.split()[1:]) if option.startswith("sweeps") else (evaluate.main, [option])
    assert run([*words, NOWHERE]) == 2
    assert f"cannot write {NOWHERE}" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("place", ["", "file/x.json", "n" * 300])
def test_places_that_take_no_file(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["fit", "--out", str(tmp_path / place)]) == 2
    assert "cannot write" in one_line(capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "name", ["binary.csv", "empty.csv", "binary.parquet", "folder.csv", "folder.parquet"]
)
def test_what_is_no_table(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    if path.stem == "folder":
        path.mkdir()
    else:
        path.write_bytes(bytes(range(256)) if path.stem == "binary" else b"")
    assert main(["fit", "--table", str(path), "--out", str(tmp_path / "fit.json")]) == 2
    assert name in one_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    "line",
    ["nosuch", "fit --nope", "fit --level 7", "collect", "retry --runs /nonexistent",
     "status --runs /nonexistent", "clean --runs /nonexistent", "fit --runs /nonexistent",
     "allocate --fit /nonexistent --budget 1 --annotation 1", "export /nonexistent --out x",
     "rerun /nonexistent", "dashboard --wandb x", "plan data.frak=1"],
)  # fmt: skip
def test_a_bad_line_of_sweeps(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    one_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    "line",
    ["", "--nope", "--run /nonexistent", "--model /nonexistent", "--model m data.frak=1", "--model m eval=x"],
)
def test_a_bad_line_of_evaluate(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(line.split()) == 2
    one_line(capsys.readouterr().err)


def test_ctrl_c_is_one_line_and_status_130(tmp_path: Path) -> None:
    table = REPOSITORY / "docs" / "results" / "pareto-by-steps" / "runs.csv"
    arguments = ["fit", "--table", str(table), "--where", "data=pydocs", "--where", "strategy=standard"]
    arguments += ["--law", "data", "--bootstrap", "200000"]
    code = (  # tests that run in the background inherit an ignored Ctrl-C
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from sweeps.cli import main; sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, text=True, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    time.sleep(0.1)
    while b"scipy.optimize" not in _mapped(process.pid) and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == "interrupted\n"
    assert process.returncode == 130


def test_ctrl_c_while_a_module_loads_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def load() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise SystemError("initialization failed") from interrupt

    assert exit_status(load) == 130
    assert capsys.readouterr().err == "interrupted\n"


def _mapped(pid: int) -> bytes:
    """Files that a process has mapped: which modules it has loaded."""
    return Path(f"/proc/{pid}/maps").read_bytes().replace(b"scipy/optimize", b"scipy.optimize")


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m sweeps fit --help | true", shell=True, cwd=tmp_path, text=True,
        stderr=subprocess.PIPE, check=False, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
