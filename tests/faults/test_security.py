"""What a stranger's file, name or text cannot do, and where a secret does not end up."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import pytest

from retrieval.config.validation import validate
from retrieval.data import sources
from retrieval.errors import ConfigError
from retrieval.run import manifest as manifest_module
from retrieval.run.directory import RunDirectory
from retrieval.run.manifest import git_state, uncommitted, with_earlier
from sweeps.commands.inventory import take_inventory
from tests.conftest import REPOSITORY
from tests.end_to_end.conftest import Compose, composed

CODE = [
    path for name in ("retrieval", "sweeps", "hydra_plugins") for path in (REPOSITORY / name).rglob("*.py")
]
KEY = "0123456789abcdef" * 2
HOSTILE = ("../../escape", "/etc/passwd", "..", ".", "a/../../b", "~root", "x\x00y", "-rf", "a\nb")


def calls(tree: ast.AST) -> list[tuple[str, dict[str, ast.expr]]]:
    """Dotted names of what is called, and the keyword arguments."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            keywords = {word.arg: word.value for word in node.keywords if word.arg}
            found.append((ast.unparse(node.func), keywords))
    return found


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_no_code_reads_pickles_or_runs_what_it_downloads(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {
        name.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")])
    }
    assert not imported & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for name, keywords in calls(tree):
        assert name not in ("eval", "exec", "os.system", "yaml.load"), name
        if name == "torch.load" or name.endswith(".fit"):
            assert ast.unparse(keywords.get("weights_only", ast.Constant(True))) == "True", name
        if name == "torch.load":
            assert "weights_only" in keywords
        for key in ("trust_remote_code", "allow_pickle", "shell"):
            assert ast.unparse(keywords.get(key, ast.Constant(False))) == "False", (name, key)


@pytest.mark.parametrize("name", HOSTILE, ids=repr)
def test_names_stay_in_the_folder_of_the_runs(tmp_path: Path, name: str) -> None:
    config = composed("data=synthetic", f"runs={tmp_path / 'runs'}")
    config.data.label = name
    config.logger.group = name
    config.model.pretrained = f"x/{name}"
    config.model.init = "pretrained"
    run = RunDirectory.of(config, "f")
    assert run.path.resolve().parent == (tmp_path / "runs").resolve()


@pytest.mark.parametrize("name", [*HOSTILE, "", "a b"], ids=repr)
def test_names_of_domains_stay_in_the_cache(name: str) -> None:
    config = composed("data=pydocs")
    config.data.domains = {**config.data.domains, name: ["json"]}
    with pytest.raises(ConfigError, match="becomes a folder's") as refused:
        validate(config)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["beir/../../x", "beir//etc", "hub/../x"])
def test_references_stay_in_the_cache(tmp_path: Path, name: str) -> None:
    config = composed("data=synthetic", "logger=none")
    config.data.ood = [name]
    with pytest.raises(ConfigError):
        sources.prepare(config.data, tmp_path / "cache")
    assert not any(path.name in ("x", "etc") for path in tmp_path.rglob("*"))


def test_a_record_of_a_sweep_does_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "status.json").write_text('{"state": "failed"}')
    record = tmp_path / "runs" / ".sweeps" / "x" / "sweep.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"cells": [{"run": "../outside"}, {"run": ".."}, {"run": ""}, {"run": "good"}]}')
    assert [cell.run for cell in take_inventory(tmp_path / "runs")] == ["good"]


def test_a_key_is_in_no_file_of_a_run(
    small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval.pipeline import run_cell

    for variable in ("WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, KEY)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run_cell(small("logger=wandb", "eval=none", "train.steps=2"))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git repository with one commit."""

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "code.py").write_text("a = 1\n")
    git("add", "code.py")
    git("commit", "-qm", "first")
    return tmp_path


def test_uncommitted_changes_are_kept_without_secrets(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = git_state(checkout)
    assert clean is not None
    assert (clean["dirty"], clean["diff_sha256"], uncommitted(checkout)) == (False, None, None)
    monkeypatch.setenv("MY_TOKEN", KEY)
    (checkout / "code.py").write_text(f"a = 2  # {KEY}\n")
    dirty = git_state(checkout)
    assert dirty is not None
    assert dirty["commit"] == clean["commit"]
    assert dirty["dirty"]
    difference = uncommitted(checkout)
    assert difference is not None
    assert "+a = 2  # <MY_TOKEN>" in difference
    assert KEY not in difference


def test_a_resume_with_other_code_says_what_came_before() -> None:
    first = {"git": {"commit": "a"}, "versions": {}, "lock": None, "device": "cpu"}
    again = with_earlier(dict(first), first)
    assert "earlier" not in again
    second = with_earlier({**first, "git": {"commit": "b"}}, first)
    third = with_earlier({**first, "git": {"commit": "c"}}, second)
    assert [entry["git"]["commit"] for entry in third["earlier"]] == ["a", "b"]


def test_a_run_directory_holds_the_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory(tmp_path)
    monkeypatch.setattr("retrieval.run.directory.uncommitted", lambda: "+ changed\n")
    made = run.write_manifest(device="cpu")
    assert (tmp_path / "code.diff").read_text() == "+ changed\n"
    assert made["lock"] == manifest_module.lock_hash(REPOSITORY)
    monkeypatch.setattr("retrieval.run.directory.uncommitted", lambda: None)
    run.write_manifest()
    assert not (tmp_path / "code.diff").exists()


def test_files_of_a_run_are_readable_by_others_and_writable_by_none(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "cell")
    with run.claim():
        run.finish({})
    assert os.stat(run.path / "result.json").st_mode & 0o777 == 0o644  # noqa: PTH116
