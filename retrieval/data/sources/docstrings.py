"""Documentation as text: a docstring becomes a query (its summary sentence) and the rest.

Only text is handled here; :mod:`retrieval.data.sources.extraction` finds the docstrings.
"""

import re

MIN_QUERY_WORDS = 4
MAX_QUERY_WORDS = 60

_SIGNATURE = re.compile(r"[\w.]+\s*\([^\n]*\)\s*(->.*)?\Z|[\w.]+\(\n.*\n\)\Z", re.DOTALL)
_UNDERLINE = re.compile(r"^\s*([-=~^*#\"'`+])\1{2,}\s*$")
# A line of the first paragraph at which its prose ends: section, field, item, directive, example.
_PROSE_END = re.compile(
    r"^\s*((args|arguments|attributes|parameters?|params|inputs?|outputs?|returns?|yields?|raises|examples?"
    r"|notes?|see also|usage|shapes?|todo|where)\s*:|:\w|@\w|[-*+\u2022]\s|\d+[.)]\s|\.\. |>>>|```|\$ )",
    re.IGNORECASE,
)
_SECTION = re.compile(
    r"^\s*(parameters|returns|yields|notes|examples?|attributes|methods|see also)\s*$", re.I | re.M
)
_PROMPT = re.compile(r"^(\s*)(>>>|\.\.\.|In \[\d+\]:)(\s|$)")
_WORD = re.compile(r"[^\W\d_]{2,}")
_NOT_LETTER = re.compile(r"[^\w\s]|[\d_]")
_SENTENCE_END = re.compile(
    r"(?<!\be\.g)(?<!\bi\.e)(?<!\bcf)(?<!\bvs)(?<!\betc)(?<!\bresp)(?<!\bca)(?<!\bFig)(?<!\bEq)"
    r"(?<!\b[A-Z])[.!?][)\"'`]*(?=\s+[^\sa-z]|\s*$)"
)
_MARKUP: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r":[a-zA-Z][\w:+-]*:`[~!]?([^`<]+?)\s*(?:<[^`]*>)?`"), r"\1"),  # :class:`~torch.Tensor`
    (re.compile(r"\[`~?([^`\]]+)`\](?:\([^)\s]*\))?"), r"\1"),  # [`~Trainer.train`]
    (re.compile(r"(?<!\w)!?\[([^\]]+)\]\([^)\s]*\)"), r"\1"),  # [text](address)
    (re.compile(r"`([^`<]+?)\s*<[^`]*>`__?"), r"\1"),  # `text <address>`_
    (re.compile(r"``([^`]+)``"), r"\1"),
    (re.compile(r"`([^`]+)`_?"), r"\1"),
    (re.compile(r"(?<![\w)\]*])\*\*([^*\s](?:[^*]*[^*\s])?)\*\*(?![\w(\[*])"), r"\1"),  # not x**2
    (re.compile(r"<\/?[a-z]+>|\|[a-z]+\||\[\d+\]_"), " "),  # <Tip>, |substitution|, [1]_
]
# Openings that say nothing about the object, or belong to a section or a parameter list.
_NO_SUMMARY = re.compile(
    r"""^(
        (args?|arguments|attributes|parameters?|params|inputs?|outputs?|returns?|yields?|raises|examples?|notes?
          |usage|warnings?|shapes?|keyword\s\w+|references?|todo|fixme|copyright|license|author|created
          |version)
          \s*(\(.*?\))?\s*:
      | see(\s+also)?\b | same\s+as\b | alias\b | an?\s+alias\b | copied\s | copyright\b
      | adapted\sfrom | taken\sfrom
      | (this\s+(is|method|function|class|module)\s+)?(an?\s+)?(is\s+)?(overrid|overload|inherit)\w*
      | refer\sto\b | please\s(see|refer|use) | initiali[sz]es?\s(self|the\s(class|object|instance)\b)
      | dummy\b | placeholder\b | unit\s?tests?\b | \(?internal\b | licensed\b
      | for\s(more|further)\b | for\s(the\s)?full\b
      | [.:@>*#$|%\-=<{\[] | https?:
      | \w[\w,*\s]{0,60}\s\(.{0,200}\)\s*: | \w+\s:\s
    )""",
    re.VERBOSE | re.IGNORECASE,
)


def plain(text: str) -> str:
    """The text without reStructuredText and Markdown markup."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text


def words(text: str) -> int:
    """Words of two letters or more."""
    return len(_WORD.findall(text))


def normalise(text: str) -> str:
    """The form in which texts count as the same: case, white space and closing punctuation aside."""
    return " ".join(text.lower().split()).rstrip(" .!?:;,")


def first_sentence(paragraph: str) -> tuple[str, str]:
    """The first sentence of a paragraph (line breaks become spaces), and what follows it."""
    text = " ".join(paragraph.split())
    end = _SENTENCE_END.search(text)
    return (text[: end.end()], text[end.end() :].strip()) if end else (text, "")


def split_docstring(documentation: str) -> tuple[str, str] | str:
    """Summary sentence and remaining documentation of a cleaned docstring.

    Returns:
        ``(summary, rest)`` without markup, or the reason (a short key) why it gives no query.
    """
    signature, documentation = _split_signature(documentation.strip())
    paragraphs = re.split(r"\n\s*\n", documentation)
    if not paragraphs[0]:
        return "no_summary"
    prose, other = _split_prose(paragraphs[0])
    if _SECTION.match(prose):
        return "no_summary"
    sentence, following = first_sentence(prose)
    summary = " ".join(plain(sentence).split())
    reason = _reject(summary)
    if reason:
        return reason
    rest = "\n".join(part for part in (signature, following, other, *paragraphs[1:]) if part)
    return summary, _plain_lines(rest)


def _split_signature(documentation: str) -> tuple[str, str]:
    """The signature with which the documentation of a function written in C begins, and the rest."""
    signature = ""
    while True:
        line, _, after_line = documentation.partition("\n")
        paragraph, _, after_paragraph = documentation.partition("\n\n")
        if _SIGNATURE.match(line):
            signature, documentation = line.strip(), after_line.strip()
        elif _SIGNATURE.match(paragraph.removesuffix("\n--")):
            signature, documentation = (
                " ".join(paragraph.removesuffix("\n--").split()),
                after_paragraph.strip(),
            )
        else:
            return signature, documentation


def _split_prose(paragraph: str) -> tuple[str, str]:
    """The lines of a paragraph before its first section, list or example, and the lines from there on."""
    lines = [line for line in paragraph.split("\n") if not _UNDERLINE.match(line)]
    end = next((at for at, line in enumerate(lines) if at and _PROSE_END.match(line)), len(lines))
    return "\n".join(lines[:end]), "\n".join(lines[end:])


def _plain_lines(text: str) -> str:
    """Documentation without markup, underlines and interpreter prompts, one line each."""
    lines = (_PROMPT.sub(r"\1", line) for line in text.split("\n") if not _UNDERLINE.match(line))
    return "\n".join(line.strip() for line in plain("\n".join(lines)).split("\n") if line.strip())


def _reject(summary: str) -> str | None:
    count = words(summary)
    if _NO_SUMMARY.match(summary):
        return "no_summary"
    if "deprecated" in summary.lower():
        return "deprecated"
    if count < MIN_QUERY_WORDS:
        return "short_summary"
    if count > MAX_QUERY_WORDS:
        return "long_summary"
    # Formulas, tables and signatures that no reader would type as a question.
    return "no_prose" if len(_NOT_LETTER.findall(summary)) > 0.2 * len(summary) else None
