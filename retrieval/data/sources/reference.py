"""Query-passage pairs from Python's language reference, as ``pydoc_data.topics`` holds it.

A unit starts at a paragraph of prose that can stand alone: its first sentence is the query; the
rest of it, and what follows up to the next unit (grammar, lists, examples), is the passage.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from retrieval.data.sources import docstrings
from retrieval.data.sources.extraction import MAX_PASSAGE, MIN_PASSAGE_WORDS, Pair, cut, squeeze

MIN_QUERY_WORDS = 6

_HEADING = re.compile(r"^([^\n]+)\n([*=~^\"'-])\2{2,}$")
# A sentence that points back cannot be understood without its paragraph.
_POINTS_BACK = re.compile(
    r"^(this|these|those|that|it|its|they|such|here|so|then|thus|however|also|otherwise|note|see|again"
    r"|similarly|unlike|both|for (example|more)|in (this|that|the|both|either|all|such) "
    r"|the (above|following|latter|former|same)|if (so|not|this|it)|as (above|before|with)|but|and|or"
    r"|changed|new|deprecated|added)\b",
    re.IGNORECASE,
)


def extract_topics(content: bytes) -> tuple[list[Pair], Counter[str]]:
    """Pairs of the module that assigns the dictionary ``topics``, and how many units were dropped."""
    pairs: list[Pair] = []
    dropped: Counter[str] = Counter()
    for topic, text in sorted(_topics(content).items()):
        for number, (title, query, passage) in enumerate(_units(topic, text)):
            if docstrings.words(passage) < MIN_PASSAGE_WORDS:
                dropped["short_passage"] += 1
            else:
                pairs.append(Pair(f"{topic}.{number}", title, query, cut(passage, MAX_PASSAGE)))
    return pairs, dropped


def _topics(content: bytes) -> dict[str, str]:
    for node in ast.parse(content).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            topics: dict[str, str] = ast.literal_eval(node.value)
            return topics
    return {}


def _units(topic: str, text: str) -> Iterator[tuple[str, str, str]]:
    """Title, query and passage of each unit of a topic, in order."""
    title, entry, query, passage = topic, "", "", ""
    for block, following_block in pairwise([*_blocks(text), ""]):
        heading = _HEADING.match(block.strip())
        is_entry = not heading and _is_entry(block, following_block)
        sentence, following = docstrings.first_sentence(docstrings.plain(block))
        prose = not is_entry and _stands_alone(block, sentence)
        complete = docstrings.words(passage) >= MIN_PASSAGE_WORDS
        if query and (heading or is_entry or (prose and complete)):
            yield title, query, passage
            query = ""
        if heading:
            title, entry = heading.group(1).replace('"', ""), ""
        elif is_entry:
            entry = block.strip()
        elif prose and not query:
            query, passage, entry = sentence.rstrip(":").strip(), f"{entry}\n{following}".strip(), ""
        elif query:
            passage = "\n".join((passage, squeeze(block.split("\n")))).strip()
    if query:
        yield title, query, passage


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs; the term of a definition list is a paragraph of its own."""
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        first, _, rest = block.partition("\n")
        if rest and not _HEADING.match(block.strip()) and _is_entry(first, rest):
            yield first
            yield rest
        else:
            yield block


def _is_entry(block: str, following: str) -> bool:
    """Whether the block names a function, command or term, and the text about it is indented below."""
    line = block.strip()
    is_name = line.endswith((")", "]")) or docstrings.words(line) <= 3
    return is_name and "\n" not in line and line[-1:] not in ".:" and _indent(following) > _indent(block)


def _indent(block: str) -> int:
    return len(block) - len(block.lstrip(" "))


def _stands_alone(block: str, sentence: str) -> bool:
    return (
        block.lstrip()[:1].isupper()
        and "::=" not in block
        and not _POINTS_BACK.match(sentence)
        and sentence.rstrip()[-1:] in ".:!?"
        and MIN_QUERY_WORDS <= docstrings.words(sentence) <= docstrings.MAX_QUERY_WORDS
    )
