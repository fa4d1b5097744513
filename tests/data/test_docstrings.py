"""Docstrings as text: which sentence is the query, what is left, and what gives no query."""

from __future__ import annotations

import pytest

from retrieval.data.sources.docstrings import first_sentence, normalise, plain, split_docstring


@pytest.mark.parametrize(
    ("documentation", "summary", "rest"),
    [
        ("Return the sum of all elements.", "Return the sum of all elements.", ""),
        (
            "Return the sum of\nall elements.  The dtype is kept.\n\nMore here.",
            "Return the sum of all elements.",
            "The dtype is kept.\nMore here.",
        ),
        (
            "Compute the trace, e.g. of a matrix, i.e. Fig. 2 in A. Author. And more.",
            "Compute the trace, e.g. of a matrix, i.e. Fig. 2 in A. Author.",
            "And more.",
        ),
        (
            "sum(input, *) -> Tensor\n\nReturns the sum of a :class:`~torch.Tensor`.\n\nArgs:\n    x: a",
            "Returns the sum of a torch.Tensor.",
            "sum(input, *) -> Tensor\nArgs:\nx: a",
        ),
        (
            "array(\n    a,\n    dtype=None,\n)\n--\n\narray(a, dtype=None)\n\nCreate an array of any shape.",
            "Create an array of any shape.",
            "array(a, dtype=None)",
        ),
        (
            "Computes the inverse rotary frequencies\nArgs:\n    config: the configuration",
            "Computes the inverse rotary frequencies",
            "Args:\nconfig: the configuration",
        ),
        (
            "Solve any linear system\n====\n\nParameters\n----------\na : array\n\n>>> solve(a)",
            "Solve any linear system",
            "Parameters\na : array\nsolve(a)",
        ),
        (
            "Draw samples from these places:\n\n- one\n- two",
            "Draw samples from these places:",
            "- one\n- two",
        ),
    ],
)  # fmt: skip
def test_summary_and_rest(documentation: str, summary: str, rest: str) -> None:
    assert split_docstring(documentation) == (summary, rest)


@pytest.mark.parametrize(
    ("documentation", "reason"),
    [
        ("", "no_summary"),
        ("sum(input) -> Tensor", "no_summary"),
        ("Args:\n    config (`Config`): the model's configuration", "no_summary"),
        ("Parameters\n----------\nx : int, default 256\n    Levels along the first axis.", "no_summary"),
        ("input_ids (`Tensor` of shape `(batch, length)`, *optional*): Indices of the tokens", "no_summary"),
        ("See :func:`torch.abs` for the documentation of this.", "no_summary"),
        ("Copied from transformers.models.bert and changed", "no_summary"),
        (".. versionadded:: 1.2 for all of the platforms", "no_summary"),
        (">>> from package import something as other", "no_summary"),
        ("Fit the model.", "short_summary"),
        ("Deprecated alias of the function above.", "deprecated"),
        ("This method is deprecated in favour of another.", "deprecated"),
        ("f(x) = g(x) + h(x) * (1 - x)^2 / 3, for all of g >= 0 and h <= 1.", "no_prose"),
        ("word " * 61, "long_summary"),
    ],
)
def test_documentation_without_a_query(documentation: str, reason: str) -> None:
    assert split_docstring(documentation) == reason


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        (":class:`~torch.nn.Linear` and :func:`abs`", "torch.nn.Linear and abs"),
        (":ref:`the guide <guide-label>`", "the guide"),
        ("[`~Trainer.train`] of [`Model`]", "Trainer.train of Model"),
        ("[text](https://example.org/a) and `other <https://example.org>`_", "text and other"),
        ("``x`` or `y` or **z**", "x or y or z"),
        ("x**2 + y**2 and f(a)**b * **kwargs", "x**2 + y**2 and f(a)**b * **kwargs"),
        ("take x[i](y) as it is", "take x[i](y) as it is"),
    ],
)
def test_markup_is_removed_and_code_kept(markup: str, text: str) -> None:
    assert plain(markup) == text


def test_first_sentence() -> None:
    assert first_sentence("One. Two.") == ("One.", "Two.")
    assert first_sentence("Version 1.5 of it. `Two` follows") == ("Version 1.5 of it.", "`Two` follows")
    assert first_sentence("No end\n  at all") == ("No end at all", "")
    assert first_sentence("Is it? Yes") == ("Is it?", "Yes")


def test_normalise() -> None:
    assert normalise("  Return the\nSUM. ") == "return the sum" == normalise("return the sum")
