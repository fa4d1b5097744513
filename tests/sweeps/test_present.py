"""What the analysis says on the terminal."""

from sweeps.diagnostics import diagnose
from sweeps.fitting.present import describe_warnings


def test_many_messages_of_a_code_are_counted_and_its_remedy_stands_once() -> None:
    many = [diagnose("NO_COMMON_RANGE", f"place {number}") for number in range(5)]
    lines = describe_warnings([many[0], diagnose("SINGLE_SEED", "one cell"), *many[1:]], indent="  ")
    assert lines == [
        "  warning NO_COMMON_RANGE: place 0",
        "  warning NO_COMMON_RANGE: place 1",
        "  warning NO_COMMON_RANGE: place 2",
        "      … and 2 more of NO_COMMON_RANGE",
        f"      → {many[0].remedy}",
        "  warning SINGLE_SEED: one cell",
        f"      → {diagnose('SINGLE_SEED', '').remedy}",
    ]


def test_three_messages_are_all_shown() -> None:
    lines = describe_warnings([diagnose("SINGLE_SEED", str(number)) for number in range(3)])
    assert len(lines) == 4
    assert not any("more" in line for line in lines)
