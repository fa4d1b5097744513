"""Damage with a seed: values for configurations, and changes of files."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

BAD_VALUES = (
    "abc", "-1", "0", "nan", "inf", "-inf", "1e400", "1.5", "99999999999999999999", "null", "true", "''",
    "[]", "[1,2]", "{}", "{a:1}", "../../../x", "/", "'a b'", "a=b", "${nowhere}", "${oc.env:NOT_SET}",
    "???", "é", "x" * 3000, "$(id)", "a,b", "[", "'", "\\", "0x10", "1_000", "-0.0", "~", "!!python/none",
)  # fmt: skip

BAD_WORDS = (
    "data", "=", "data=", "=1", "data.frac", "nokey=1", "data.nokey=1", "+data.frac=1", "~data", "~seed",
    "++seed=x", "model=", "model=../../etc/passwd", "data=/etc/passwd", "strategy=[]", "experiment=nothing",
    "hydra/launcher=nothing", "data@x=pydocs", "a.b.c=1", "seed", "--nonsense", "data.frac=0.5=1", "\x00=1",
    "strategy=standard,pareto", "seed=range(1,3)", "model.layers=${model.hidden}", "runs=${runs}", "{", "- x",
)  # fmt: skip

JUNK = (
    b"", b"\x00", b"\xff\xfe", b"\n", b"\n\n", b"{", b"}", b"[]", b"null", b"\t", b"NaN", b"\xef\xbb\xbf",
    b"\r", b'{"_id": 1}', b'{"_id": "a"}', b'"', b"[" * 4000, b"9" * 5000, b"\\ud800",
    b"\xc2\x85", b"\x1c", b"-1", b"\t\t1",
)  # fmt: skip


def keys_of(kind: Any, prefix: str = "") -> list[str]:
    """Dotted keys of a nested dataclass."""
    found = []
    hints = get_type_hints(kind)
    for field in fields(kind):
        key = f"{prefix}{field.name}"
        found += keys_of(hints[field.name], f"{key}.") if is_dataclass(hints[field.name]) else [key]
    return found


def damage_bytes(data: bytes, dice: random.Random) -> bytes:
    """``data`` with one to three random changes."""
    changes: list[Callable[[bytes, int, int], bytes]] = [
        lambda data, i, j: data[:i],
        lambda data, i, j: data[:i] + data[j:],
        lambda data, i, j: data[:i] + dice.choice(JUNK) + data[i:],
        lambda data, i, j: data[:i] + dice.choice(JUNK) + data[j:],
        lambda data, i, j: data[:i] + bytes([dice.randrange(256)]) + data[i + 1 :],
        lambda data, i, j: data[:j] + data[i:],
        lambda data, i, j: b"\n".join(dice.sample(data.split(b"\n"), k=data.count(b"\n") + 1)),
        lambda data, i, j: data.replace(b'"text"', b'"txt"', 1),
        lambda data, i, j: data.replace(b"\t", b" ", 1),
    ]
    for _ in range(dice.randint(1, 3)):
        i, j = sorted(dice.randrange(len(data) + 1) for _ in "ij")
        data = dice.choice(changes)(data, i, j)
    return data


def damage_file(path: Path, dice: random.Random) -> None:
    """Change a file's bytes, or put something else in its place."""
    kind = dice.random()
    if kind < 0.9:
        path.write_bytes(damage_bytes(path.read_bytes(), dice))
        return
    path.unlink()
    if kind < 0.93:
        path.mkdir()
    elif kind < 0.96:
        path.symlink_to(path.name)


def copy_tree(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))
