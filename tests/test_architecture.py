"""The house keeps its shape: who may import whom, what stays small, and which words are not ours."""

import ast
import re
import subprocess
import sys
from functools import cache

import pytest

from tests.services import ROOT

ROOMS = ("accounts", "cases", "analysis", "review", "delivery", "ops")
# audit is imported by all and imports none of them; api lies on top of the services, like the pages of each room.
MAY_IMPORT = {
    "audit": set(),
    "accounts": {"audit"},
    "cases": {"accounts", "audit"},
    "analysis": {"accounts", "audit", "cases"},
    "review": {"accounts", "audit", "cases", "analysis"},
    "delivery": {"accounts", "audit", "cases", "analysis", "review"},
    "api": {"accounts", "audit", "cases", "analysis", "review"},
    "ops": {"accounts", "audit", "cases", "analysis", "review", "delivery", "api"},
}
PURE = ("differential", "flags", "policies", "loinc")
TORCH = {"torch", "torchvision", "ultralytics", "openvino"}
BANNED = re.compile(r"manager|helper|util|handler|processor|(^|_)data(_|$)|(^|_)info(_|$)", re.I)
# Names that Django gives, not we.
GIVEN = {"receive_data_chunk"}

PYTHON = [p for top in ("leukoweb", "detection", "tests") for p in sorted((ROOT / top).rglob("*.py"))]
OURS = [p for p in PYTHON if "migrations" not in p.parts]


def name_of(path):
    return str(path.relative_to(ROOT))


@cache
def parsed(path):
    """The tree of a file, and all its nodes."""
    tree = ast.parse(path.read_text())
    return tree, list(ast.walk(tree))


def imports_of(path, *, at_top=False):
    """The full names of the modules that a file imports; `at_top` leaves out those inside functions."""
    tree, nodes = parsed(path)
    for node in tree.body if at_top else nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_only_what_lies_below_it(room):
    wrong = []
    for path in sorted((ROOT / "leukoweb" / room).rglob("*.py")):
        for module in imports_of(path):
            parts = module.split(".")
            other = parts[1] if parts[0] == "leukoweb" and len(parts) > 1 else room
            if module.startswith("leukoweb.accounts.access"):  # the guard of every page
                continue
            if other in MAY_IMPORT and other not in {room, *MAY_IMPORT[room]}:
                wrong.append(f"{name_of(path)} imports {module}")
    assert wrong == []


def addresses():
    """The room of the view behind each named address."""
    import django

    django.setup()
    from django.urls import get_resolver

    rooms, waiting = {}, list(get_resolver().url_patterns)
    while waiting:
        pattern = waiting.pop()
        waiting += getattr(pattern, "url_patterns", [])
        view = getattr(pattern, "callback", None)
        if view and pattern.name:
            module = getattr(view, "cls", getattr(view, "view_class", view)).__module__
            rooms[pattern.name] = module.removeprefix("leukoweb.").split(".")[0]
    return rooms


def templates_of(room):
    return sorted((ROOT / "templates" / room).rglob("*.html"))


def is_upward(room, other):
    return other in MAY_IMPORT and other not in {room, *MAY_IMPORT[room]}


# Pages of a higher room that lower ones lead to, and why they may.
LEAD_UPWARD = {
    "case_detail": "the page of a case shows everything of it; whoever changed a case returns there",
    "slide_detail": "the same for the page of a slide",
    "slide_upload": "whoever discarded unfinished uploads returns to the page of the upload",
    "detector_compare": "the page of a detector offers to compare what it says with what people said",
}


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_templates_and_redirects_of_a_room_name_only_pages_and_templates_that_lie_below_it(room):
    rooms, wrong = addresses(), []
    for path in templates_of(room):
        text = path.read_text()
        for name in re.findall(r"{%\s*url\s+['\"](\w+)", text):
            if is_upward(room, rooms.get(name)) and name not in LEAD_UPWARD:
                wrong.append(f"{name_of(path)} leads to {name} of {rooms[name]}")
        for other in re.findall(r"{%\s*(?:include|extends)\s+['\"](\w+)/", text):
            if is_upward(room, other):
                wrong.append(f"{name_of(path)} shows a template of {other}")
    for path in sorted((ROOT / "leukoweb" / room).rglob("*.py")):
        for node in parsed(path)[1]:
            if not isinstance(node, ast.Call):
                continue
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            if called in {"redirect", "reverse", "reverse_lazy", "resolve_url"}:
                wrong += [
                    f"{name_of(path)} leads to {name} of {rooms[name]}"
                    for name in texts[:1]
                    if is_upward(room, rooms.get(name)) and name not in LEAD_UPWARD
                ]
            if called in {"render", "render_to_string", "TemplateResponse"}:
                wrong += [
                    f"{name_of(path)} shows {name}"
                    for name in texts
                    if is_upward(room, name.split("/")[0]) and "." in name
                ]
    assert wrong == []


# Where a lower room asks along a relation that a higher one defined, and why it may.
ASK_UPWARD = {
    (
        "cases",
        "runs",
    ): "the state of a case is derived from its runs, reports and hand-overs in one query (cases/states.py)",
    ("cases", "reports"): "as runs",
    ("cases", "hand_overs"): "as runs",
    ("analysis", "decisions"): "a slide whose cells a person has labelled is not read again",
    ("audit", "cells"): "no relation: the name of a value in an event",
}


def relations_upward():
    """The names under which a higher room's model is reached from a lower one's: name -> [(lower, higher)]."""
    import django

    django.setup()
    from django.apps import apps

    found = {}
    for model in apps.get_models():
        for relation in model._meta.related_objects:
            lower, higher = model.__module__.split("."), relation.related_model.__module__.split(".")
            if lower[0] == higher[0] == "leukoweb" and is_upward(lower[1], higher[1]):
                for name in {relation.get_accessor_name(), relation.field.related_query_name()}:
                    found.setdefault(name, []).append(higher[1])
    return found


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_asks_along_no_relation_that_a_higher_room_defined(room):
    relations, wrong = relations_upward(), set()

    def look(path, names):
        for name in set(names) & set(relations):
            if any(is_upward(room, higher) for higher in relations[name]) and (room, name) not in ASK_UPWARD:
                wrong.add(f"{name_of(path)} asks for {name}")

    for path in [p for p in sorted((ROOT / "leukoweb" / room).rglob("*.py")) if "migrations" not in p.parts]:
        for node in parsed(path)[1]:
            if isinstance(node, ast.Attribute):
                look(path, [node.attr])
            elif isinstance(node, ast.keyword) and node.arg:
                look(path, node.arg.split("__"))
            elif (
                isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch("-?[a-z_]+", node.value)
            ):
                look(path, node.value.lstrip("-").split("__"))
    for path in templates_of(room):
        for tag in re.findall(r"{[{%].*?[%}]}", path.read_text()):
            look(path, re.findall(r"\.(\w+)", tag))
    assert wrong == set()


def test_every_exception_to_the_one_way_rule_is_still_needed():
    rooms, relations = addresses(), relations_upward()
    assert set(LEAD_UPWARD) <= set(rooms)
    assert {name for _, name in ASK_UPWARD} <= set(relations)


def test_detection_imports_nothing_of_the_web_product():
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in sorted((ROOT / "detection").rglob("*.py"))
        for module in imports_of(path)
        if module.split(".")[0] in {"leukoweb", "django", "celery"}
    ]
    assert wrong == []


def test_the_pure_modules_of_review_know_no_django():
    wrong = [
        f"{name} imports {module}"
        for name in PURE
        for module in imports_of(ROOT / "leukoweb" / "review" / "counting" / f"{name}.py")
        if module.startswith("django")
    ]
    assert wrong == []


def test_what_the_worker_needs_of_detection_imports_nothing_of_the_bench_and_the_product_neither():
    """`detection.lab` trains and measures; `inference`, `images` and the web product stand without it."""
    below = [p for part in ("inference", "images") for p in sorted((ROOT / "detection" / part).rglob("*.py"))]
    below += [p for p in sorted((ROOT / "detection").glob("*.py")) if p.name != "__main__.py"]
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in [*below, *sorted((ROOT / "leukoweb").rglob("*.py"))]
        for module in imports_of(path)
        if module.startswith("detection.lab")
    ]
    assert wrong == []


def test_only_the_worker_reaches_the_torch_parts_of_detection_and_only_inside_functions():
    for path in sorted((ROOT / "leukoweb").rglob("*.py")):
        assert TORCH.isdisjoint(module.split(".")[0] for module in imports_of(path)), name_of(path)
        if "detection.inference.detector" in set(imports_of(path)):
            assert {"analysis", "ops"} & set(path.parts), name_of(path)
            assert "detection.inference.detector" not in set(imports_of(path, at_top=True)), name_of(path)


def test_the_pages_are_served_without_torch_in_memory():
    """Imports every address of the product in a fresh process, with the settings as a web process has them."""
    code = (
        "import django, sys; django.setup(); import leukoweb.urls, leukoweb.wsgi; "
        "from django.urls import get_resolver; get_resolver().url_patterns; "
        f"print(sorted({TORCH!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["detection", "detection.cell_types", "detection.images", "detection.__main__"])
def test_the_light_modules_of_detection_import_no_torch(module):
    code = f"import sys, {module}; print(sorted({TORCH!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_file_is_too_long_to_be_read_in_one_sitting():
    texts = [p for top in ("templates", "static/js", "static/css") for p in (ROOT / top).rglob("*") if p.is_file()]
    long = {name_of(p): n for p in [*PYTHON, *texts] if (n := len(p.read_text().splitlines())) > 500}
    assert long == {}


def test_every_module_says_what_it_is_for():
    silent = [name_of(p) for p in OURS if p.read_text().strip() and not ast.get_docstring(parsed(p)[0])]
    assert silent == []


def test_the_banned_words_are_in_no_name_of_ours():
    found = []
    for path in [p for p in OURS if "tests" not in p.parts]:
        if BANNED.search(path.stem):
            found.append(name_of(path))
        for node in parsed(path)[1]:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name not in GIVEN and BANNED.search(node.name):
                found.append(f"{name_of(path)}: {node.name}")
    assert found == []


def test_nothing_was_left_for_later():
    left = re.compile(r"#\W*(TODO|FIXME|XXX)\b|\bNotImplementedError\b|\bbreakpoint\(\)|pytest\.mark\.(skip|xfail)")
    found = [name_of(p) for p in OURS if p.name != "test_architecture.py" and left.search(p.read_text())]
    assert found == []


def test_every_action_that_is_recorded_is_in_the_list_of_actions():
    known = set(re.findall(r'= "([\w.]+)", gettext_lazy', (ROOT / "leukoweb" / "audit" / "actions.py").read_text()))
    said = {
        (node.args[0].value, name_of(path))
        for path in (ROOT / "leukoweb").rglob("*.py")
        for node in parsed(path)[1]
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "record"
        if node.args and isinstance(node.args[0], ast.Constant)
    }
    assert sorted(one for one in said if one[0] not in known) == [], "add a line to leukoweb/audit/actions.py"
