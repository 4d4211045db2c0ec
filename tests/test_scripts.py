"""The pure parts of the pages' scripts, tested by node where there is one; pages are tested in tests/browser."""

import re
import subprocess

import pytest
from django.core.files.storage import FileSystemStorage

from leukoweb.static_files import StaticFiles
from tests.services import ROOT


def test_every_module_that_a_script_imports_is_named_by_its_hash(tmp_path):
    """Browsers keep what bears a hash; the others they would ask for again at every opening of a case."""
    source = FileSystemStorage(ROOT / "static")
    stored = StaticFiles(tmp_path, base_url="/static/")
    modules = {f"js/{path.name}": (source, f"js/{path.name}") for path in (ROOT / "static" / "js").glob("*.js")}
    for name in modules:
        stored.save(name, source.open(name))
    assert not [problem for *_, problem in stored.post_process(modules) if isinstance(problem, Exception)]
    imported = re.findall(
        r'^(?:import|} from) .*"(.+)";$', (tmp_path / stored.stored_name("js/workbench.js")).read_text(), re.M
    )
    assert len(imported) > 10
    assert all((tmp_path / "js" / name).is_file() and re.search(r"\.[0-9a-f]{12}\.js$", name) for name in imported)


@pytest.mark.node
def test_the_pure_scripts_do_what_they_say():
    run = subprocess.run(
        ["node", "--test", *sorted(map(str, (ROOT / "tests" / "js").glob("*.test.mjs")))],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
