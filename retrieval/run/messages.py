"""One readable line for the errors that Hydra and OmegaConf raise on a bad command line."""

from __future__ import annotations

import difflib
import re
from dataclasses import fields

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from retrieval.config.beir_sets import BEIR_SETS
from retrieval.config.knobs import groups
from retrieval.config.schema import Config, own_keys
from retrieval.errors import ConfigError, DataError, ParetrieveError
from retrieval.run.storage import place_reason, storage_reason


def explain(error: BaseException) -> str | None:
    """The line to print for ``error``; ``None`` when it is a bug and its traceback is what helps."""
    if isinstance(error, ParetrieveError):
        return str(error)
    cause = _root(error)
    if isinstance(error, OverrideParseException):
        return f"cannot read the override {error.override!r}; write key=value, lists as key=[a,b]"
    if isinstance(error, MissingConfigException) or "In '" in str(error):
        return _missing_group(str(error))
    if isinstance(cause, ConfigKeyError) or "Could not override" in str(error):
        return _unknown_key(error, cause)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _one_line(cause if isinstance(cause, OmegaConfBaseException) else error)
    if _raised_while_composing(error):
        return _one_line(error)
    if isinstance(error, BrokenPipeError):
        return "what reads the output ended before it was complete"
    reason = storage_reason(error) or place_reason(error)
    return None if reason is None else f"cannot read or write: {reason}; name another place, or mend this one"


def is_input(error: BaseException) -> bool:
    """Whether the cause of an error with a line is what was asked for or handed in, not how it went."""
    # Some of Hydra's complaints about a configuration are an OSError, too.
    if isinstance(error, ConfigError | DataError | HydraException | OmegaConfBaseException):
        return True
    return not isinstance(error, ParetrieveError | OSError) and storage_reason(error) is None


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _raised_while_composing(error: BaseException) -> bool:
    """Whether Hydra or OmegaConf stumbled, by whatever exception, over what it was given."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = str(trace.tb_frame.f_globals.get("__name__")) if trace is not None else ""
    return not isinstance(error, OSError) and module.startswith(("hydra.", "omegaconf.", "yaml.", "antlr4."))


def _missing_group(text: str) -> str:
    match = re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)'", text)
    options = re.search(r"Available options in '[^']*':\n((?:\t\S+\n?)+)", text)
    if match is None:
        return " ".join(text.split())
    group, value = match.groups()
    valid = [name for name in (options.group(1).split() if options else []) if not name.endswith("_schema")]
    valid = [name for name in valid if re.fullmatch(r"[\w.-]+", name)]
    if group == "data":
        valid.append("beir/NAME")
    elif group == "data/beir":
        group, value, valid = "data", f"beir/{value}", [f"beir/{name}" for name in BEIR_SETS]
    return f"{group}={value} is not known{_suggest(value, valid)}; valid: {', '.join(valid)}"


def _unknown_key(error: BaseException, cause: BaseException) -> str:
    match = re.search(r"Could not override '([^']+)'", str(error))
    key = match.group(1) if match else (getattr(cause, "full_key", None) or str(cause).split("'")[1])
    parent, _, name = str(key).rpartition(".")
    if "Key '" in str(cause) and f"Key '{name}'" not in str(cause):
        parent, name = parent.rpartition(".")[0], parent.rpartition(".")[2]
    valid = _keys_of(parent)
    where = f"{parent}." if parent else ""
    owners = [
        f"{parent}={option}"
        for option, keys in own_keys(parent).items()
        if str(key) in (each.key for each in keys)
    ]
    if owners:
        return f"{key} is a key of {' and '.join(owners)} only; choose that, or drop the key"
    choices = ", ".join(where + field for field in valid)
    return f"no key {where}{name}{_suggest(name, valid)}; valid: {choices}"


def _keys_of(path: str) -> list[str]:
    """Fields of the schema at a dotted path, with those that only some options of a group have."""
    own = [each.key.removeprefix(f"{path}.") for keys in own_keys(path).values() for each in keys]
    node: type | None = Config
    for part in path.split(".") if path else []:
        node = groups(node).get(part) if node else None
    return sorted({*(field.name for field in fields(node)), *own}) if node else []


def _suggest(value: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(value, valid, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = getattr(error, "full_key", None)
    text = lines[0] if lines else type(error).__name__
    return f"{key}: {text}" if key else text


def quoted(argument: str) -> str:
    """A command-line argument such that Hydra takes an unquoted ``sweep.where`` as text."""
    key, _, expression = argument.partition("=")
    if key.lstrip("+") != "sweep.where" or re.fullmatch(r"""\s*('[^']*'|"[^"]*"|null|)\s*""", expression):
        return argument
    escaped = re.sub(r'(\\*)("|$)', lambda at: 2 * at[1] + ('\\"' if at[2] else ""), expression)
    return f'{key}="{escaped}"'
