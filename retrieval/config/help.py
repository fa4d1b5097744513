"""``python train.py --help [GROUP]``: what can be set, from the schema and the comments in ``conf/``."""

import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING as NO_DEFAULT
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from retrieval.config.data import SOURCES
from retrieval.config.knobs import Setting, groups, settings
from retrieval.config.model import SIZES
from retrieval.config.schema import Config, own_keys
from retrieval.config.unknown import suggestion
from retrieval.errors import ConfigError

CONF = Path(__file__).resolve().parents[2] / "conf"
WIDTH = 100

USAGE = """\
Train a dense retriever and measure its effectiveness and robustness; with -m, sweep a grid of them.

  python train.py                                            one run: bert-mini from scratch on pydocs
  python train.py model=bert-tiny data.frac=0.1 seed=2       change anything: key=value
  python train.py -m model=bert-mini,bert-base data.frac=0.1,0.5,1
                                                             sweep: every combination, side by side
  python train.py strategy=pareto                            (1-w)*L_eff + w*L_rob; a rule moves w
  python train.py strategy=pareto strategy.omega=0.25        w fixed: a quarter of the steps are robust ones
  python train.py strategy=pareto strategy.mixture=mixture.json   w by a law of python -m sweeps mixture
  python train.py data=local data.path=FOLDER                your own collection, in BEIR format
  python train.py data=beir/nfcorpus data.ood=[beir/arguana] public collections; also suite=beir-small
  python train.py model=bert-base model.init=pretrained model.pretrained=google-bert/bert-base-uncased
  python train.py --help strategy                            one group: its options and keys
  python -m sweeps --help                                    status, collect, fit, report of finished runs

The same command again skips what is done, resumes what was interrupted and retries what failed.
Exit status: 0 done, 1 a run failed, 2 bad configuration or input.
Hydra's own flags: --hydra-help. Shell completion: eval "$(python train.py -sc install=bash)"
"""


def asked(arguments: Sequence[str]) -> tuple[bool, str | None]:
    """Whether a command line asks for help, and for which group."""
    for number, argument in enumerate(arguments):
        flag, _, topic = argument.partition("=")
        if flag in ("--help", "-h"):
            following = arguments[number + 1] if number + 1 < len(arguments) else ""
            return True, topic or (following if re.fullmatch(r"\w[\w/]*", following) else None)
    return False, None


def page(topic: str | None = None) -> str:
    """The text of ``--help``, or of ``--help <topic>``.

    Raises:
        ConfigError: there is no such group.
    """
    if topic is None:
        return "\n".join([USAGE, *_overview()])
    schemas, options = groups(Config), _options()
    valid = [*schemas, *(group for group in options if group not in schemas)]
    if topic not in valid:
        hint = suggestion(topic, valid)
        raise ConfigError(f"--help {topic}: no such group{hint}; valid: {', '.join(valid)}")
    lines = [f"{topic}: {_summary(schemas[topic])}" if topic in schemas else f"{topic}:", ""]
    for name, text in options.get(topic, {}).items():
        lines += [f"  {topic}={name}", textwrap.indent(text, " " * 6)]
        if topic.startswith("hydra/"):
            lines += _file_keys(CONF / topic / f"{name}.yaml", topic.replace("/", "."))
    if topic in schemas:
        lines += [*[""] * (topic in options), *_keys(topic, schemas[topic])]
    return "\n".join([*lines, ""])


def _overview() -> Iterator[str]:
    yield "Groups (group=option):\n"
    for group, options in _options().items():
        yield textwrap.fill(
            ", ".join(options), WIDTH, initial_indent=f"  {group:16}", subsequent_indent=" " * 18
        )
    yield "\nKeys (key=value) with their defaults and valid values; null: nothing, or chosen for you.\n"
    for name, schema in groups(Config).items():
        yield f"{name}: {_summary(schema)}"
        yield from _keys(name, schema)
        yield ""
    own = [setting for setting in settings(Config) if "." not in setting.key]
    yield from ("Of no group:", *_entries(own))


def _keys(group: str, schema: type) -> Iterator[str]:
    """The keys of a group, then those that only some of its options have."""
    yield from _entries(settings(schema, f"{group}."))
    for name, own in own_keys(group).items():
        yield f"\n  with {group}={name}:"
        yield from _entries(own)


def _entries(keys: Iterable[Setting]) -> Iterator[str]:
    for setting in keys:
        valid = "true, false" if isinstance(setting.default, bool) else setting.knob.valid
        valid = valid and f"   ({valid})"
        yield from _wrapped(f"{setting.key}={_shown(setting.default)}{valid}", 2, 8)
        yield from _wrapped(setting.knob.help)


def _shown(value: Any) -> str:
    if value in (MISSING, NO_DEFAULT):
        return "…"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if str(value).startswith("${"):
        return f"…   set by {str(value)[2:-1]}"
    return str(value).replace(" ", "") if isinstance(value, list | dict) else str(value)


def _wrapped(text: str, first: int = 6, rest: int = 6) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * first,
        subsequent_indent=" " * rest,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _summary(schema: type) -> str:
    return " ".join(str(schema.__doc__).partition("\n\n")[0].replace("``", "").split())


def _options() -> dict[str, dict[str, str]]:
    """Group -> its options -> what each is, by the comment its file begins with."""
    found: dict[str, dict[str, str]] = {
        "model": {"bert": "Any size of the BERT grid: model=bert model.layers=6 model.hidden=512."}
    }
    for name, (layers, hidden) in SIZES.items():
        found["model"][name] = f"{layers} layers of width {hidden}."
    for path in sorted(CONF.rglob("*.yaml")):
        group = path.parent.relative_to(CONF).as_posix()
        if group not in (".", "study"):  # studies are no options of a run
            found.setdefault(group, {})[path.stem] = _comment(path.read_text(encoding="utf-8"))
    for source, part in SOURCES.items():
        if part.options:
            names = ", ".join(name.rpartition("/")[2] for name in part.options)
            about = f"{_summary(part.schema)} NAME: {names}."
            found["data"][f"{source}/NAME"] = textwrap.fill(about, WIDTH - 6, break_on_hyphens=False)
    return found


def _comment(text: str) -> str:
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return "\n".join(line[2:] for line in lines if not line.startswith("# @package"))


def _file_keys(path: Path, prefix: str) -> Iterator[str]:
    """Keys of a file of Hydra's own groups: each with its value and the comment above it."""
    comment: list[str] = []
    parent = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.fullmatch(r"( *)(\w+):(.*)", line)
        if line.lstrip().startswith("#"):
            comment.append(line.lstrip("# "))
            continue
        if match and match[2] not in ("defaults", "_target_"):
            indent, name, value = match.groups()
            parent = parent if indent else name
            key = f"{parent}.{name}" if indent else name
            if value:
                yield f"      {prefix}.{key}={value.strip()}"
                yield from _wrapped(" ".join(comment), 10, 10)
        comment = []
