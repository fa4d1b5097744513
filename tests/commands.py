"""The project's commands, each in a process of its own that need not import PyTorch first.

A server, one for a pytest process, imports the libraries and then forks for every command. The child takes
the folder, the environment, the arguments and the import path that a new interpreter would have, and imports
``retrieval`` and ``sweeps`` by itself. It ends as any interpreter ends. What a library reads from the
environment when it is imported, a command cannot change.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

LIBRARIES = (
    *("hydra", "torch", "pytorch_lightning", "transformers", "transformers.models.bert.modeling_bert"),
    *("sentence_transformers", "pandas", "scipy.optimize", "matplotlib.figure", "typer", "wandb", "bm25s"),
)
SECONDS = 280
"""After which a command is ended, before pytest gives up the test."""


def run(*arguments: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run([sys.executable, *arguments], cwd=folder, env=environment)``, output captured.

    ``arguments``: a script, or ``-m`` and a module, or ``-c`` and code; then what it is given.
    """
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as place:
        said = [str(Path(place) / name) for name in ("stdout", "stderr")]
        request = {"arguments": arguments, "folder": str(folder), "environment": environment, "said": said}
        try:
            server.stdin.write(json.dumps(request) + "\n")
            server.stdin.flush()
            status = int(server.stdout.readline())
        except BaseException:  # a test that is given up leaves an answer that is not the next one's
            server.kill()
            _server.cache_clear()
            raise
        texts = [Path(path).read_text(encoding="utf-8") for path in said]
    return subprocess.CompletedProcess(arguments, status, *texts)


@functools.cache
def _server() -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    server = subprocess.Popen(
        [sys.executable, "-P", __file__],
        env={**environment, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[str]) -> None:
    assert server.stdin is not None
    server.stdin.close()
    server.wait()


def _serve(requests: IO[str], answers: IO[str]) -> dict[str, Any] | None:
    """Fork for every request; the request in a child, ``None`` in the server once there are no more."""
    for line in requests:
        child = os.fork()
        if child == 0:
            return dict(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
    return None


def _become(request: dict[str, Any]) -> None:
    """Stand where a new interpreter would stand, but for the libraries."""
    signal.alarm(SECONDS)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(request["said"], start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    added = request["environment"].get("PYTHONPATH", "")
    sys.path[:0] = [str(Path(part).absolute()) for part in added.split(os.pathsep) if part]


def _run(kind: str, *arguments: str) -> None:
    if kind not in ("-m", "-c"):
        sys.argv = [kind, *arguments]
        sys.path.insert(0, str(Path(kind).resolve().parent))
        runpy.run_path(kind, run_name="__main__")
        return
    name, *others = arguments
    sys.argv = [kind, *others]
    sys.path.insert(0, str(Path.cwd()) if kind == "-m" else "")
    if kind == "-m":
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        exec(compile(name, "<string>", "exec"), sys.modules["__main__"].__dict__)


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        for library in LIBRARIES:
            importlib.import_module(library)
    gc.freeze()  # keeps the collector off the pages that all children share
    if (wanted := _serve(sys.stdin, sys.stdout)) is not None:
        _become(wanted)
        _run(*wanted["arguments"])
