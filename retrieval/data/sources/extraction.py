"""Query-passage pairs from the text of one Python file, read with ``ast``; nothing is executed.

The query is the summary sentence of an object's documentation. The passage is the object's dotted
name, the rest of the documentation, and the code without its docstring, in this order, because
encoders read only the first tokens and prose says more in few of them.
"""

import ast
import inspect
import re
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import NamedTuple

from retrieval.data.sources import docstrings

MAX_DOCUMENTATION = 1000
MAX_PASSAGE = 1500
MIN_PASSAGE_WORDS = 12

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_ADD_DOCUMENTATION = re.compile(r"^_?add_(docstr|docstr_all|newdoc)$")
_FORMAT_FIELD = re.compile(r"(?<!\{)\{[\w.]*\}(?!\})")


class Pair(NamedTuple):
    """One query with its relevant passage; characters are counted after markup is removed."""

    name: str
    """Dotted name of the object."""
    title: str
    query: str
    text: str
    """At most ``MAX_PASSAGE`` characters of documentation and code."""


class Documented(NamedTuple):
    """An object with documentation, before anything is filtered."""

    name: str
    documentation: str
    code: str


def extract(content: bytes, module: str) -> tuple[list[Pair], Counter[str]]:
    """Pairs of one source file, and the reasons of what was dropped; ``module``: its dotted name."""
    dropped: Counter[str] = Counter()
    if b'"""' not in content and b"'''" not in content:
        return [], dropped
    try:
        encoding, _ = tokenize.detect_encoding(BytesIO(content).readline)
        source = content.decode(encoding)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, LookupError):
        return [], Counter(unreadable_file=1)
    pairs = []
    for documented in _documented(tree, source, module):
        pair = _pair(documented)
        if isinstance(pair, Pair):
            pairs.append(pair)
        else:
            dropped[pair] += 1
    return pairs, dropped


def _pair(documented: Documented) -> Pair | str:
    # Half a surrogate pair, which a string literal may hold, cannot be written as UTF-8.
    documentation = documented.documentation.encode("utf-8", "replace").decode("utf-8")
    split = docstrings.split_docstring(documentation)
    if isinstance(split, str):
        return split
    summary, rest = split
    text = "\n".join(part for part in (cut(rest, MAX_DOCUMENTATION), documented.code) if part)
    text = cut(text, MAX_PASSAGE)
    if docstrings.words(text) < MIN_PASSAGE_WORDS:
        return "short_passage"
    return Pair(documented.name, documented.name, summary, text)


def cut(text: str, length: int) -> str:
    """At most ``length`` characters, cut between words where there are any."""
    if len(text) <= length:
        return text
    head = text[:length]
    return head.rstrip() if text[length].isspace() else head.rsplit(maxsplit=1)[0]


def _documented(tree: ast.Module, source: str, module: str) -> Iterator[Documented]:
    # Not str.splitlines, which also breaks at form feeds and so numbers lines unlike ast.
    lines = re.split(r"\r\n|\r|\n", source)
    documentation = ast.get_docstring(tree)
    if documentation:
        yield Documented(module, documentation, _outline(tree.body, lines))
    for name, node in _definitions(tree.body, module):
        documentation = ast.get_docstring(node)
        if documentation:
            if isinstance(node, ast.ClassDef):
                # The class statement, its fields, and the first line of each method.
                head = squeeze(lines[node.lineno - 1 : node.body[0].lineno - 1])
                code = "\n".join(part for part in (head, _outline(node.body[1:], lines)) if part)
            else:
                code = _code(node, lines, without=node.body[0])
            yield Documented(name, documentation, code)
    yield from _attached(tree.body, module)


def _definitions(body: Sequence[ast.stmt], prefix: str) -> Iterator[tuple[str, _Definition]]:
    """Functions and classes with their dotted names; functions inside functions are left out."""
    for node in body:
        if isinstance(node, _Definition):
            name = f"{prefix}.{node.name}"
            yield name, node
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node.body, name)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            # Objects defined under a condition on the platform or on what is installed.
            yield from _definitions(
                [item for item in ast.iter_child_nodes(node) if isinstance(item, ast.stmt)], prefix
            )


def _code(node: ast.stmt, lines: list[str], without: ast.stmt | None = None) -> str:
    """Source of a statement, without indentation, blank lines and the statement ``without``."""
    assert node.end_lineno is not None
    numbers = set(range(node.lineno, node.end_lineno + 1))
    if without is not None:
        assert without.end_lineno is not None
        numbers -= set(range(without.lineno, without.end_lineno + 1))
    return squeeze(lines[number - 1] for number in sorted(numbers))


def _outline(body: Sequence[ast.stmt], lines: list[str]) -> str:
    """Definitions by their first line, assignments in full; imports and other statements left out."""
    parts = []
    for node in body:
        if isinstance(node, _Definition):
            parts.append(lines[node.lineno - 1].strip())
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            parts.append(_code(node, lines))
        if sum(map(len, parts)) > MAX_PASSAGE:
            break
    return "\n".join(parts)


def squeeze(lines: Sequence[str] | Iterator[str]) -> str:
    """Lines without indentation, the blank ones left out."""
    return "\n".join(line.strip() for line in lines if line.strip())


def _attached(body: Sequence[ast.stmt], module: str) -> Iterator[Documented]:
    """Documentation that ``add_docstr`` and ``add_newdoc`` calls attach to objects written in C."""
    for node in body:
        value = node.value if isinstance(node, ast.Expr | ast.Assign) else None
        if not isinstance(value, ast.Call) or len(value.args) < 2:
            continue
        function = ast.unparse(value.func).rsplit(".", 1)[-1]
        if not _ADD_DOCUMENTATION.match(function):
            continue
        text = _constant_text(value.args[-1])
        if text:
            yield Documented(_attached_name(value, module), inspect.cleandoc(text), "")


def _attached_name(call: ast.Call, module: str) -> str:
    target = call.args[0]
    parts = [part for part in call.args[:-1] if isinstance(part, ast.Constant)]
    if isinstance(call.args[-1], ast.Tuple) and isinstance(call.args[-1].elts[0], ast.Constant):
        parts.append(call.args[-1].elts[0])
    if not parts:
        name = ast.unparse(target)
        return name if "." in name else f"{module}.{name}"
    name = ".".join(str(part.value) for part in parts)
    return f"{module}.{name}" if len(parts) == 1 else name


def _constant_text(node: ast.expr) -> str:
    """The constant part of a string expression: sums, ``.format`` calls, the last item of a tuple."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _constant_text(node.left) + _constant_text(node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        text = _FORMAT_FIELD.sub("", _constant_text(node.func.value))
        return text.replace("{{", "{").replace("}}", "}")
    return _constant_text(node.elts[-1]) if isinstance(node, ast.Tuple) and node.elts else ""
