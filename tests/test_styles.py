"""The style sheets of the pages: one owner for each class, no dead rules, colours and sizes by tokens only."""

import re
from collections import defaultdict

import pytest

from tests.services import ROOT

STYLES = ROOT / "static" / "css"
ALONE = ("report_pdf.css",)  # for paper
PAGES = sorted(path for path in STYLES.glob("*.css") if path.name not in ALONE)
OF_BOOTSTRAP = re.compile(r"(btn|form|navbar|badge|link|dropdown)(-|$)")
OF_STATE = re.compile(r"(is|has|needs|no)-")  # a state is read together with the class that it is a state of
COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}\b|\b(?:rgba?|hsla?|oklch)\(")


def _selectors(path) -> list[str]:
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    return re.findall(r"([^{}]+)\{", re.sub(r"\{[^{}]*\}", "{}", text))


def _classes(path) -> set[str]:
    return {name for selector in _selectors(path) for name in re.findall(r"\.([a-zA-Z][\w-]*)", selector)}


def test_each_class_has_one_owner():
    owners = defaultdict(set)
    for path in PAGES:
        for name in _classes(path):
            if not OF_BOOTSTRAP.match(name) and not OF_STATE.match(name):
                owners[name].add(path.name)
    assert {name: files for name, files in owners.items() if len(files) > 1} == {}


def test_no_rule_is_dead():
    """Each class is written in a template, a script or a library, or is put together there from a word and a value."""
    kinds = ("templates/**/*.html", "static/js/*.js", "static/vendor/**/*.js", "leukoweb/**/*.py")
    text = "".join(path.read_text() for kind in kinds for path in ROOT.glob(kind))
    made = {name + "-" for name in re.findall(r"([a-z_][\w-]*)-(?:\{\{|\$\{)", text)}
    used = set(re.findall(r"[\w-]+", text))
    dead = {n for path in PAGES for n in _classes(path) if n not in used and not n.startswith(tuple(made))}
    assert dead == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_colours_and_sizes_of_type_are_tokens(path):
    rules = path.read_text()
    if path.name == "leukoweb.css":  # where the tokens are
        rules = rules[rules.rindex("--lw-text-xl") :]
    assert COLOUR.findall(rules) == []
    sizes = re.findall(r"font-size: ([^;}]+)", rules)
    assert [size for size in sizes if not size.startswith("var(--lw-text-")] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_corner_space_or_line_that_has_a_token_is_written_by_it(path):
    tokens = dict(re.findall(r"--lw-((?:round|space|line)[\w-]*): ([^;]+);", (STYLES / "leukoweb.css").read_text()))
    of = {"border-radius": "round", "gap": "space", "border": "line", "margin": "space", "padding": "space"}
    written = re.findall(
        r"[{;\s](border-radius|gap|(?:border|margin|padding)(?:-\w+)?): ([^;}]+?) ?[;}]", path.read_text()
    )
    again = [
        (name, value)
        for name, value in written
        if value in {own for key, own in tokens.items() if key.startswith(of.get(name, of[name.split("-")[0]]))}
        and name not in ("margin", "padding")  # of four sides at once
    ]
    assert tokens
    assert again == []
