"""docs/asvs.md has a line for every requirement of ASVS 5.0.0 of levels 1 and 2, and each test that it names exists."""

import re

from tests.services import ROOT

# Requirements of levels 1 and 2 in each section: the first ones in all of them (OWASP/ASVS, 5.0/docs_en).
SECTIONS = {
    "1.1": 2, "1.2": 9, "1.3": 11, "1.4": 3, "1.5": 2, "2.1": 3, "2.2": 3, "2.3": 4, "2.4": 1, "3.2": 2, "3.3": 4,
    "3.4": 6, "3.5": 5, "3.7": 2, "4.1": 3, "4.2": 1, "4.3": 2, "4.4": 4, "5.1": 1, "5.2": 3, "5.3": 2, "5.4": 3,
    "6.1": 3, "6.2": 12, "6.3": 4, "6.4": 4, "6.5": 5, "6.6": 3, "6.8": 4, "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5,
    "7.5": 2, "7.6": 2, "8.1": 2, "8.2": 3, "8.3": 1, "8.4": 1, "9.1": 3, "9.2": 4, "10.1": 2, "10.2": 2, "10.3": 4,
    "10.4": 11, "10.5": 5, "10.6": 2, "10.7": 3, "11.1": 2, "11.2": 3, "11.3": 3, "11.4": 4, "11.5": 1, "11.6": 1,
    "12.1": 3, "12.2": 2, "12.3": 4, "13.1": 1, "13.2": 5, "13.3": 2, "13.4": 5, "14.1": 2, "14.2": 4, "14.3": 3,
    "15.1": 3, "15.2": 3, "15.3": 7, "16.1": 1, "16.2": 5, "16.3": 4, "16.4": 3, "16.5": 3, "17.1": 1, "17.2": 4,
    "17.3": 2,
}  # fmt: skip
TEXT = (ROOT / "docs" / "asvs.md").read_text()
ROWS = re.findall(r"^\| (V[\d.]+)(?:-(V[\d.]+))? \| (\w+) \| (.+) \|$", TEXT, re.M)


def numbers(first, last):
    """Every requirement from the first to the last of one section."""
    section, start = first[1:].rsplit(".", 1)
    other, end = (last or first)[1:].rsplit(".", 1)
    assert section == other, (first, last)
    return [f"{section}.{n}" for n in range(int(start), int(end) + 1)]


def test_every_requirement_has_one_line():
    wanted = [f"{section}.{n}" for section, count in SECTIONS.items() for n in range(1, count + 1)]
    assert len(wanted) == 253
    assert [one for first, last, *_ in ROWS for one in numbers(first, last)] == wanted


def test_each_line_names_a_test_that_exists_or_says_why_there_is_none():
    for first, _, state, text in ROWS:
        assert state in {"test", "reason", "operator", "open"}, first
        named = re.findall(r"`((?:browser/)?test_\w+)(?:::(\w+))?`", text)
        if state == "test":
            assert named or "`make check`" in text, first
        for module, function in named:
            path = ROOT / "tests" / f"{module}.py"
            assert path.is_file(), f"{first}: {module}"
            assert not function or f"def {function}(" in path.read_text(), f"{first}: {module}::{function}"
