"""Commits, the files as they are, and worktrees that go away again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.same.commits import WORKTREE, CommitError, resolve, worktree


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody"]
    done = subprocess.run(
        ["git", "-C", str(root), *who, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    for text in ("first", "second"):
        (root / "file").write_text(text)
        git(root, "add", "file")
        git(root, "commit", "--quiet", f"--message={text}")
    return root


def test_a_worktree_holds_the_commit_and_goes_away(repository: Path, tmp_path: Path) -> None:
    commit = resolve(repository, "HEAD~1")
    assert commit.about.endswith(" first")
    with (  # noqa: PT012 - all of it is the interrupted block
        pytest.raises(KeyboardInterrupt),
        worktree(repository, commit, tmp_path / "tree") as tree,
    ):
        assert (tree / "file").read_text() == "first"
        (tree / "new").write_text("")
        raise KeyboardInterrupt
    assert not (tmp_path / "tree").exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_the_files_as_they_are_become_a_commit(repository: Path, tmp_path: Path) -> None:
    assert resolve(repository, WORKTREE) == resolve(repository, "HEAD")
    (repository / ".gitignore").write_text("ignored\n")
    (repository / "ignored").write_text("")
    (repository / "file").write_text("third")
    before = git(repository, "status", "--porcelain")
    commit = resolve(repository, WORKTREE)
    assert commit.about.endswith(" second and 2 uncommitted files")
    with worktree(repository, commit, tmp_path / "tree") as tree:
        assert (tree / "file").read_text() == "third"
        assert not (tree / "ignored").exists()
    assert git(repository, "status", "--porcelain") == before
    assert git(repository, "log", "--format=%s") == "second\nfirst"


@pytest.mark.parametrize("revision", ["nothing", "--help", ""])
def test_an_unknown_revision_is_named(repository: Path, revision: str) -> None:
    with pytest.raises(CommitError, match=f"no commit '{revision}'"):
        resolve(repository, revision)
