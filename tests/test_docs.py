"""The documentation agrees with the code: rule ids, addresses and examples; and it builds without a broken link."""

import re
import shutil
import subprocess
import sys

import pytest
from django.urls import get_resolver

from tests.conftest import PASSWORD
from tests.services import ROOT

DOMAIN = (ROOT / "docs" / "domain.md").read_text()
API = (ROOT / "docs" / "api.md").read_text()
OLD_PDF = "/api/v1/cases/{accession_number}/report/report.pdf"
RULE = re.compile(r"\b[CS]\d{1,2}\b")


def examples(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", API, re.M | re.S)


def test_every_rule_that_code_tests_templates_and_documents_cite_is_explained():
    explained = set(re.findall(r"^\| ([CS]\d+) \|", DOMAIN, re.M))
    assert explained == {f"C{n}" for n in range(1, 18)} | {f"S{n}" for n in range(1, 15)}
    files = [
        path
        for top, pattern in (("leukoweb", "*.py"), ("detection", "*.py"), ("tests", "*.py"), ("templates", "*.html"),
                             ("static/js", "*.js"), ("static/css", "*.css"), ("docs", "*.md"))
        for path in (ROOT / top).rglob(pattern)
        if "migrations" not in path.parts and path.name != "test_docs.py"
    ]  # fmt: skip
    unknown = {
        str(p.relative_to(ROOT)): cited for p in files if (cited := set(RULE.findall(p.read_text())) - explained)
    }
    assert unknown == {}


def test_the_15_types_and_their_loinc_codes_are_those_of_the_code():
    from detection.cell_types import CELL_TYPES
    from leukoweb.review.counting.loinc import LOINC, LYA_MEANINGS

    rows = {
        cells[1]: cells
        for line in re.findall(r"^\| \d+ \|.*$", DOMAIN, re.M)
        if (cells := line.strip("| ").split(" | "))
    }
    assert list(rows) == [cell_type.code for cell_type in CELL_TYPES]
    for cell_type in CELL_TYPES:
        index, _, name, _, percent, absolute, counted = rows[cell_type.code]
        assert (int(index), name.split(" (")[0]) == (cell_type.index, cell_type.name)
        assert counted.startswith("yes") == cell_type.in_differential
        known = LYA_MEANINGS.values() if cell_type.code == "LYA" else [LOINC[cell_type.code]]
        for text, codes in ((percent, [k.percent for k in known]), (absolute, [k.absolute for k in known])):
            assert re.findall(r"\d+-\d", text) == [code for code in codes if code]


def test_every_address_of_the_interface_is_documented_and_none_that_is_not_there():
    documented = set(re.findall(r"^\| `(/api/v1/[^`]*)`", API, re.M))
    routes = {
        "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", str(pattern.pattern)).replace("{pk}", "{id}")
        for resolver in get_resolver().url_patterns
        for pattern in getattr(resolver, "url_patterns", [])
        if str(pattern.pattern).startswith("api/v1/")
    }
    by_number = {route for route in routes if "{accession_number}" in route}
    assert by_number
    assert all(route.replace("{accession_number}", "id/{id}") in routes for route in by_number - {OLD_PDF})
    assert documented == routes - by_number - {"/api/v1/", "/api/v1/schema/"}


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_examples_of_the_interface_run_as_they_are_printed(
    live_server, technologist, tmp_path, monkeypatch, make_slide, capsys
):
    from leukoweb.analysis.models import Cell, Run
    from leukoweb.review.models import Decision
    from tests.pictures import picture

    (tmp_path / "smear.png").write_bytes(picture("smear.png").read())
    ours = {"LEUKOWEB": live_server.url, "LEUKOWEB_USER": "tess", "LEUKOWEB_PASSWORD": PASSWORD,
            "SMEAR": str(tmp_path / "smear.png")}  # fmt: skip
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    upload, read = examples("python")
    names = {}
    exec(upload, names)
    assert "queued ['field-1.png']" in capsys.readouterr().out
    run = Run.objects.get()
    Cell.objects.bulk_create(
        Cell(run=run, image=run.slide.images.get(), detector_code=code, score=score, x1=0, y1=0, x2=9, y2=9)
        for code, score in (("NGS", 0.9), ("NGS", 0.4), ("LYT", 0.8))
    )
    Run.objects.update(state=Run.State.DONE)
    exec(read, names)
    assert "{'LYT': 1, 'MON': 1," in capsys.readouterr().out
    assert (Decision.objects.get().to_code, Decision.objects.get().reason) == ("MON", "folded nucleus")

    [commands] = examples("bash")
    assert shutil.which("curl"), "curl is missing: apt-get install curl"
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"count":1' in done.stdout
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_the_documentation_builds_without_a_broken_link(tmp_path):
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in ("domain", "architecture", "api", "operations", "decisions"):
        assert (tmp_path / page / "index.html").is_file()
