"""Commits by name, and each in a git worktree of its own for as long as it is measured."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import ConfigError

WORKTREE = "WORKTREE"
"""Stands for the files as they are, uncommitted and new ones included, ignored ones not."""

NOBODY = {f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


class CommitError(ConfigError):
    """A revision or a repository that git cannot use, in one line."""


@dataclass(frozen=True)
class Commit:
    """A commit and what people call it."""

    hash: str
    about: str


def resolve(root: Path, revision: str) -> Commit:
    """The commit that ``revision`` names in the repository at ``root``.

    Raises:
        CommitError: There is none.
    """
    if revision == WORKTREE:
        return _as_it_is(root)
    try:
        found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except CommitError:
        raise CommitError(f"no commit {revision!r} in {root}") from None
    return Commit(found, _git(root, "show", "--no-patch", "--format=%h %s", found))


@contextmanager
def worktree(root: Path, commit: Commit, folder: Path) -> Iterator[Path]:
    """Check ``commit`` out at ``folder``, and take it away again."""
    try:
        # In two steps: of `worktree add` the part that writes the files would outlive a termination.
        _git(root, "worktree", "add", "--no-checkout", "--detach", str(folder), commit.hash)
        _git(folder, "reset", "--hard", "--quiet")
        yield folder
    finally:
        # Unknown where the checkout was cut short; what is left of the folder goes with its parent.
        subprocess.run(
            ["git", "-C", str(root), "worktree", "remove", "--force", "--force", str(folder)],
            capture_output=True,
            check=False,
        )


def _as_it_is(root: Path) -> Commit:
    """A commit of the files at ``root``, on no branch; the last commit where nothing was changed."""
    last = resolve(root, "HEAD")
    with tempfile.TemporaryDirectory() as folder:
        # An index of its own: what is staged stays as it is.
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        _git(root, "read-tree", "HEAD", environment=index)
        _git(root, "add", "--all", environment=index)
        tree = _git(root, "write-tree", environment=index)
    if tree == _git(root, "rev-parse", "HEAD^{tree}"):
        return last
    made = _git(root, "commit-tree", tree, "-p", last.hash, "-m", "uncommitted", environment=NOBODY)
    changed = len(_git(root, "diff", "--name-only", last.hash, made).splitlines())
    return Commit(made, f"{last.about} and {changed} uncommitted {'file' if changed == 1 else 'files'}")


def _git(root: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            check=True,
        )
    except FileNotFoundError:
        raise CommitError("git is not installed") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"status {error.returncode}"]
        raise CommitError(f"git {arguments[0]}: {said[-1]}") from None
    return done.stdout.strip()
