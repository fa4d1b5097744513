"""One readable line for the errors that Hydra and OmegaConf raise on a bad command line."""

import re
import unicodedata
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from retrieval.config.beir_sets import BEIR_SETS
from retrieval.config.unknown import suggestion, unknown_key
from retrieval.errors import ConfigError, DataError, ParetrieveError, root_cause
from retrieval.run.storage import place_reason, storage_reason


def explain(error: BaseException) -> str | None:
    """The line to print for ``error``; ``None`` when it is a bug and its traceback is what helps."""
    if isinstance(error, ParetrieveError):
        return str(error)
    cause = root_cause(error)
    if isinstance(error, OverrideParseException):
        if (sign := _typographic(error.override)) is not None:
            return f"cannot read the override {error.override!r}: it has {sign} belongs"
        return (
            f"cannot read the override {error.override!r}; write key=value, lists as key=[a,b], and a value "
            """with other signs in two pairs of quotes: 'key="value"'"""
        )
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


_SIGNS = {"−": "-", "–": "-", "—": "-", "“": '"', "”": '"', "‘": "'", "’": "'", "＝": "=", "，": ","}
"""What word processors and web pages put in the place of the signs of a command line."""


def _typographic(override: str) -> str | None:
    """The first sign that looks like another, and what to write for it."""
    found = next(
        (sign for sign in override if sign in _SIGNS or (sign.isdigit() and not sign.isascii())), None
    )
    if found is None:
        return None
    plain = _SIGNS[found] if found in _SIGNS else str(unicodedata.digit(found))
    return f"{found} (U+{ord(found):04X}) where {plain}"


def is_input(error: BaseException) -> bool:
    """Whether the cause of an error with a line is what was asked for or handed in, not how it went."""
    # Some of Hydra's complaints about a configuration are an OSError, too.
    if isinstance(error, ConfigError | DataError | HydraException | OmegaConfBaseException):
        return True
    return not isinstance(error, ParetrieveError | OSError) and storage_reason(error) is None


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
    return f"{group}={value} is not known{suggestion(value, valid)}; valid: {', '.join(valid)}"


def _unknown_key(error: BaseException, cause: BaseException) -> str:
    match = re.search(r"Could not override '([^']+)'", str(error))
    key = str(match.group(1) if match else (getattr(cause, "full_key", None) or str(cause).split("'")[1]))
    parent, _, name = key.rpartition(".")
    node = getattr(cause, "parent_node", None)
    if key.startswith("hydra.") and isinstance(node, DictConfig):
        valid = sorted(str(each) for each in node if not str(each).startswith("_"))
        listed = ", ".join(f"{parent}.{each}" for each in valid)
        return f"no key {key}{suggestion(name, valid)}; valid: {listed}"
    return unknown_key(parent if "Key '" in str(cause) and f"Key '{name}'" not in str(cause) else key)


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("Ambiguous value"):
        argument, _, value = lines[0].split("'", 1)[1].rpartition("'")[0].partition("=")
        return (
            f"{argument}={value} has several values; add -m to sweep over them, write {argument}=[{value}] "
            f"""for a list, or '{argument}="{value}"' for text"""
        )
    if lines and lines[0].startswith("Could not append to config"):
        present = lines[0].split("'")[1]
        return f"+{present}: there is a key {present} already; leave out the +"
    key = getattr(error, "full_key", None)
    if not lines:
        return (
            f"Hydra cannot read these overrides ({type(error).__name__}); look at functions in them: glob(…) "
            "is for groups, and interval(…) for other sweepers"
        )
    return f"{key}: {lines[0]}" if key else lines[0]


_SLICE = re.compile(r"""(?:\w+\+)*\w+\[[^][,'"]*\](?:\+\w+(?:\[[^][,'"]*\])?)*""")
"""Part of a split as the datasets library writes it: ``train[:90%]+test[10:]``."""

_HUB_ENTRY = re.compile(r"\+*data\.hub\.([\w.-]+)=(\{.*\})", re.DOTALL)


def prepared(argument: str) -> str:
    """A command-line argument such that Hydra can read it.

    Its grammar has no conditions (``sweep.where``), no parts of splits and no line breaks; OmegaConf adds no
    mapping below ``data.hub``, but merges one into it.
    """
    key, _, value = argument.partition("=")
    entry = _HUB_ENTRY.fullmatch(argument)
    if entry is not None:
        return f"+data.hub={{{entry[1]}: {' '.join(entry[2].split())}}}"
    if value.startswith("~/") and "," not in value:
        # No shell expands it behind a sign of equality.
        return f'{key}="{_escaped(str(Path(value).expanduser()))}"'
    condition = key.lstrip("+") == "sweep.where" and not re.fullmatch(
        r"""\s*('[^']*'|"[^"]*"|null|)\s*""", value
    )
    if not condition and not _SLICE.fullmatch(value):
        return argument
    return f'{key}="{_escaped(value)}"'


def _escaped(value: str) -> str:
    """A value as it stands between double quotes."""
    return re.sub(r'(\\*)("|$)', lambda at: 2 * at[1] + ('\\"' if at[2] else ""), value)
