"""Pairs from source text: which objects, which passage, and nothing executed."""

from __future__ import annotations

import textwrap

from retrieval.data.sources.extraction import MAX_PASSAGE, Pair, cut, extract
from retrieval.data.sources.reference import extract_topics

MODULE = '''
"""Tools that measure how far two points are apart.

They work in any number of dimensions and take sequences of numbers.
"""
import sys

LIMIT = 10
raise SystemExit("this module must never be executed")

class Metric(Base):
    """Measures the distance between two points of a space.

    Subclasses say how the differences of coordinates are combined.
    """

    order: int = 2

    def __call__(self, first, second):
        """Return the distance between first and second.

        Args:
            first: sequence of numbers, one for each dimension of the space
        """
        # A comment stays.

        return self.combine(abs(a - b) for a, b in zip(first, second))

    def undocumented(self):
        return 1

if sys.platform == "linux":
    try:
        async def fetch(url, timeout):
            """Fetch the coordinates of a point from the server.

            The connection is closed after the given number of seconds without an answer.
            """
    except ImportError:
        pass

def outer():
    """Short one."""
    def inner():
        """Helper that nobody outside of the function can call."""
'''


def test_objects_of_a_module() -> None:
    pairs, dropped = extract(MODULE.encode(), "pack.metric")
    assert [pair.name for pair in pairs] == [
        "pack.metric",
        "pack.metric.Metric",
        "pack.metric.Metric.__call__",
        "pack.metric.fetch",
    ]
    assert dropped == {"short_summary": 1}
    assert pairs[0] == Pair(
        "pack.metric",
        "pack.metric",
        "Tools that measure how far two points are apart.",
        "They work in any number of dimensions and take sequences of numbers.\n"
        "LIMIT = 10\nclass Metric(Base):\ndef outer():",
    )
    assert pairs[1].text == (
        "Subclasses say how the differences of coordinates are combined.\n"
        "class Metric(Base):\norder: int = 2\ndef __call__(self, first, second):\ndef undocumented(self):"
    )
    assert pairs[2].query == "Return the distance between first and second."
    assert pairs[2].text == (
        "Args:\nfirst: sequence of numbers, one for each dimension of the space\n"
        "def __call__(self, first, second):\n# A comment stays.\n"
        "return self.combine(abs(a - b) for a, b in zip(first, second))"
    )
    assert pairs[3].text.endswith("async def fetch(url, timeout):")


def test_the_summary_is_not_in_the_passage() -> None:
    for pair in extract(MODULE.encode(), "m")[0]:
        assert pair.query.rstrip(".") not in pair.text


def test_documentation_attached_by_calls() -> None:
    source = textwrap.dedent(
        '''
        common = {"input": "input (Tensor): the input tensor."}
        add_docstr(torch.abs, r"""
        abs(input, *, out=None) -> Tensor

        Computes the absolute value of each element.

        Args:
            {input}
            count (int): how many of the elements of the input are taken {{exactly}}
        """.format(**common) + "Example: " + other)
        conv = _add_docstr(torch.conv1d, """Applies a convolution over an input signal. """
                           "The signal has one dimension and several planes, as in recordings of music.")
        add_newdoc("numpy.core", "ufunc", ("reduce", """Reduces the dimension of an array by one.
        The function is applied along one of the axes of the array, from left to right."""))
        add_docstr_all("all_close", """Tell whether all elements are close. The tolerances are relative and
        absolute, and both of them are summed before they are compared.""")
        add_noise(torch.abs, """Adds random noise to each of the elements. This is just a function call
        that has nothing to do with the documentation of an object.""")
        '''
    )
    pairs, dropped = extract(source.encode(), "mod")
    assert not dropped
    assert [(pair.name, pair.query) for pair in pairs] == [
        ("torch.abs", "Computes the absolute value of each element."),
        ("torch.conv1d", "Applies a convolution over an input signal."),
        ("numpy.core.ufunc.reduce", "Reduces the dimension of an array by one."),
        ("mod.all_close", "Tell whether all elements are close."),
    ]
    assert pairs[0].text == (
        "abs(input, *, out=None) -> Tensor\nArgs:\n"
        "count (int): how many of the elements of the input are taken {exactly}\nExample:"
    )


def test_files_that_cannot_be_read() -> None:
    assert extract(b'"""Broken', "m") == ([], {"unreadable_file": 1})
    assert extract(b'"""x"""\n\xff\xfe', "m") == ([], {"unreadable_file": 1})
    assert extract(b'# coding: no-such-codec\n"""x"""', "m") == ([], {"unreadable_file": 1})
    assert extract(b"print('no documentation')", "m") == ([], {})


def test_encodings_line_ends_and_form_feeds() -> None:
    body = 'def f():\n    """Zählt die Wörter eines Textes einzeln.\n\n    %s\n    """\n    return 1\n'
    text = body % "Ein Wort ist eine Folge von Buchstaben ohne Leerzeichen darin, zum Beispiel dieses hier."
    expected = extract(text.encode(), "m")
    assert [pair.query for pair in expected[0]] == ["Zählt die Wörter eines Textes einzeln."]
    assert expected[0][0].text.endswith("def f():\nreturn 1")
    assert extract(b"# -*- coding: latin-1 -*-\n" + text.encode("latin-1"), "m") == expected
    assert extract(text.replace("\n", "\r\n").encode(), "m") == expected
    # A form feed separates sections of a file, but starts no new line.
    assert extract(text.replace("def f", "x = 1 \x0c\ndef f").encode(), "m") == expected


def test_text_that_utf8_cannot_hold() -> None:
    source = r'''
def f():
    """Handle half a pair \ud83d in the text.

    The other half \udc4d of it may stand in the rest, among a good number of other words here.
    """
'''
    [pair] = extract(source.encode(), "m")[0]
    assert pair.query == "Handle half a pair ? in the text."
    assert "The other half ? of it" in pair.text


def test_long_passages_are_cut_between_words() -> None:
    code = f"return {'[' * 50}1{']' * 50}"
    source = f'def f():\n    """Return a rather long text.\n\n    {"word " * 1000}\n    """\n    {code}\n'
    [pair] = extract(source.encode(), "m")[0]
    assert 990 <= pair.text.index("def f()") <= 1001
    assert len(pair.text) <= MAX_PASSAGE
    assert cut("one two three", 7) == "one two"
    assert cut("one two three", 9) == "one two"
    assert cut("one", 5) == "one"
    assert cut("x" * 9, 5) == "xxxxx"


TOPICS = r"""
topics = {'assert': 'The "assert" statement\n'
           '**********************\n'
           '\n'
           'Assert statements insert debugging assertions into the code\n'
           'of a program. They are left out when the program is optimised,\n'
           'so they must not have effects that the program needs to work well:\n'
           '\n'
           '   assert_stmt ::= "assert" expression\n'
           '\n'
           'This sentence points back to the paragraph before it.\n'
           '\n'
           'Assignments to the built-in variable of debugging are illegal. Its value is\n'
           'determined when the interpreter starts, and there is no way to change it later.\n'
           '\n'
           'object.__length__(self)\n'
           '\n'
           '   Called to find out how long an object is. The result must be a number and it\n'
           '   must not be negative, and floating point numbers are not accepted at all.\n',
 'empty': 'Nothing\n*******\n\nToo short a paragraph for a passage, really.\n'}
"""


def test_language_reference() -> None:
    pairs, dropped = extract_topics(TOPICS.encode())
    assert dropped == {"short_passage": 1}
    assert [(pair.title, pair.query) for pair in pairs] == [
        ("The assert statement", "Assert statements insert debugging assertions into the code of a program."),
        ("The assert statement", "Assignments to the built-in variable of debugging are illegal."),
        ("The assert statement", "Called to find out how long an object is."),
    ]  # fmt: skip
    assert pairs[0].text.endswith(
        'assert_stmt ::= "assert" expression\nThis sentence points back to the paragraph before it.'
    )
    assert pairs[2].text.startswith("object.__length__(self)\nThe result must be a number")
    assert len({pair.name for pair in pairs}) == 3


def test_no_topics() -> None:
    assert extract_topics(b"x = 1") == ([], {})
