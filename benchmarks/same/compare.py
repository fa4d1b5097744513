"""What a run logged and measured, and where two runs differ in it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import zip_longest
from pathlib import Path
from typing import Any

TIME, SPEED, NAME = "a time", "a speed", "holds the hash of a configuration, which a renamed key changes"

IGNORED = {
    "run": NAME,
    "cost/train_seconds": TIME,
    "cost/measure_seconds": TIME,
    "cost/eval_seconds": TIME,
    "cost/attack_seconds": TIME,
    "cost/seconds_per_query": TIME,
    "cost/pairs_per_second": SPEED,
    "train/pairs_per_second": SPEED,
    "cost/mfu": SPEED,
    "cost/peak_memory_bytes": "memory",
}
"""Keys of ``result.json`` and ``metrics.jsonl`` that differ from run to run -> why. No other is left out;
host, versions and commit stand in ``manifest.json``, which is not compared."""

Point = tuple[int, Any]
"""A logged value and its step."""


@dataclass(frozen=True)
class Values:
    """What a run left: its result, and the course of everything it logged."""

    result: dict[str, Any]
    log: dict[str, list[Point]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.result) + sum(map(len, self.log.values()))


@dataclass(frozen=True)
class Difference:
    """A key with which two runs differ."""

    key: str
    text: str
    expected: bool

    def __str__(self) -> str:
        return f"{'expected: ' if self.expected else ''}{self.key}: {self.text}"


def read_run(folder: Path) -> Values:
    """``result.json`` and ``metrics.jsonl`` of a run, without the keys in :data:`IGNORED`."""
    log: dict[str, list[Point]] = defaultdict(list)
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        logged = json.loads(line)
        step = logged.pop("step")
        for key, value in logged.items():
            if key not in IGNORED:
                log[key].append((step, value))
    return Values(read_result(folder / "result.json").result, dict(log))


def read_result(path: Path) -> Values:
    """The metrics of one JSON file."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Values({key: value for key, value in found.items() if key not in IGNORED})


def same(base: object, head: object) -> bool:
    """Whether two values are written alike: NaN equals NaN, 0.0 is not -0.0, and 1 is not 1.0."""
    return _written(base) == _written(head)


def differences(base: Values, head: Values, expected: Sequence[str] = ()) -> list[Difference]:
    """All keys with which ``head`` differs from ``base``; ``expected``: patterns of keys that may."""
    texts = [(key, _in_result(key, base.result, head.result)) for key in _keys(base.result, head.result)] + [
        (key, _in_log(base.log.get(key, []), head.log.get(key, []))) for key in _keys(base.log, head.log)
    ]
    return [
        Difference(key, text, any(fnmatchcase(key, pattern) for pattern in expected))
        for key, text in texts
        if text is not None
    ]


def _keys(base: dict[str, Any], head: dict[str, Any]) -> list[str]:
    return [*base, *(key for key in head if key not in base)]


def _in_result(key: str, base: dict[str, Any], head: dict[str, Any]) -> str | None:
    if key not in head:
        return f"only at base: {_written(base[key])}"
    if key not in base:
        return f"only at head: {_written(head[key])}"
    if same(base[key], head[key]):
        return None
    return f"{_written(base[key])} at base, {_written(head[key])} at head"


def _in_log(base: list[Point], head: list[Point]) -> str | None:
    """The first logged point that differs, and how many do."""
    for name, here, there in (("base", base, head), ("head", head, base)):
        if not there:
            return f"only at {name}: logged {len(here)} times"
    pairs = [(one, other) for one, other in zip_longest(base, head) if not same(one, other)]
    if not pairs:
        return None
    one, other = pairs[0]
    where = f"step {(one or other or (0, None))[0]}"
    if one is not None and other is not None and one[0] != other[0]:
        first = f"logged at step {one[0]} at base, at step {other[0]} at head"
    else:
        first = f"{where}: {_logged(one)} at base, {_logged(other)} at head"
    return f"{first}; {len(pairs)} of {max(len(base), len(head))} logged values differ"


def _logged(point: Point | None) -> str:
    return "not logged" if point is None else _written(point[1])


def _written(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
