"""The package is whole: every dependency is declared where it is needed, and the wheel works out of the checkout."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import leukoweb
from tests.services import ROOT
from tests.test_architecture import parsed

pytestmark = pytest.mark.slow

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Names under which a distribution is imported, where they differ from its own.
IMPORTED_AS = {
    "axes": "django-axes",
    "allauth": "django-allauth",
    "csp": "django-csp",
    "cv2": "opencv-python",
    "environ": "django-environ",
    "openslide": "openslide-python",
    "opentelemetry": "opentelemetry-sdk",
    "PIL": "pillow",
    "pytest_django": "pytest-django",
    "storages": "django-storages",
    "rest_framework": "djangorestframework",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
}
# Used by a name in the settings, by another library or by a command, not by an import of ours.
USED_OTHERWISE = {
    "argon2-cffi": "the password hasher of the settings",
    "crispy-bootstrap5": "the template pack of the settings",
    "django-crispy-forms": "filters of the templates",
    "django-htmx": "a middleware of the settings",
    "django-permissions-policy": "a middleware of the settings",
    "django-prometheus": "an application of the settings",
    "gunicorn": "serves the web process",
    "pytest-timeout": "the limit of a test in pyproject.toml",
    "imagecodecs": "compressions that tifffile reads",
    "openslide-bin": "the library behind openslide-python",
    **dict.fromkeys(
        (
            "opentelemetry-exporter-otlp-proto-http",
            "opentelemetry-instrumentation-celery",
            "opentelemetry-instrumentation-django",
            "opentelemetry-instrumentation-psycopg",
        ),
        "parts of the package opentelemetry",
    ),
    "psycopg": "Django's driver of PostgreSQL",
    "whitenoise": "a middleware of the settings",
    "mkdocs-material": "make docs",
    "moto": "the S3 server of the tests",
    "flask": "serves it",
    "flask-cors": "serves it",
    "requests": "the example client of docs/api.md",
    "hatchling": "builds the wheel",
    "editables": "the editable installation without a network",
    "pytest-django": "a plugin",
    "pytest-xdist": "a plugin",
    "pytest-cov": "a plugin",
    "pytest-playwright": "a plugin",
    "ruff": "make check",
    "djlint": "make check",
    "mypy": "make check",
    "pre-commit": "runs make check's parts before a commit",
}


def declared(extra=None):
    """The names that a list of pyproject.toml gives, with those of our own extras that it includes."""
    lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    names = set()
    for requirement in map(Requirement, lines):
        if requirement.name == PROJECT["name"]:
            names |= set.union(*(declared(one) for one in requirement.extras))
        else:
            names.add(canonicalize_name(requirement.name))
    return names


def imported(*folders, without=()):
    """Third-party names that the code under `folders` imports, each with one file that does."""
    found = {}
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        if any(path.is_relative_to(ROOT / folder) for folder in without):
            continue
        for node in parsed(path)[1]:
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            for module in modules:
                top = module.split(".")[0]
                if top not in sys.stdlib_module_names and top not in {"leukoweb", "detection", "tests"}:
                    found[canonicalize_name(IMPORTED_AS.get(top, top))] = str(path.relative_to(ROOT))
    return found


WEB = ("leukoweb", "detection/images")
# `make bench` drives a browser and `make load` locust, in the environment of the tests.
BENCH = ("leukoweb/ops/bench_keys.py", "leukoweb/ops/load_users.py")
TRACES = "leukoweb/tracing.py"  # loaded only where LEUKOWEB_TRACES_URL is set
S3 = "leukoweb/cases/s3.py"  # imported where a bucket is set
QUANTISE = "detection/lab/quantising.py"
LATER = ("detection/images", "detection/lab")


@pytest.mark.parametrize(
    ("folders", "without", "extra"),
    [
        (WEB, (*BENCH, TRACES, S3), None),
        (("detection",), LATER, "worker"),
        (("detection/lab",), (QUANTISE,), "lab"),
        (("detection/lab",), (), "int8"),
        (WEB, (*BENCH, S3), "traces"),
        (WEB, (*BENCH, TRACES), "s3"),
        (("tests", "leukoweb/ops"), (), "dev"),
    ],
    ids=["web", "worker", "lab", "int8", "traces", "s3", "dev"],
)
def test_what_a_part_imports_is_declared_for_it(folders, without, extra):
    known = declared() | (declared(extra) if extra else set())
    found = imported(*folders, without=without)
    assert {name: path for name, path in found.items() if name not in known} == {}


def test_what_is_declared_is_used():
    used = set(imported("leukoweb", "detection", "tests")) | set(USED_OTHERWISE)
    assert (declared() | declared("dev")) - used == set()
    assert set(USED_OTHERWISE) <= declared() | declared("dev")


def test_every_page_is_served_where_only_the_dependencies_of_the_web_process_are_installed(tmp_path):
    absent = sorted(
        {*imported("detection", without=LATER), *imported("detection/lab"), "opentelemetry-sdk", *declared("s3")}
        - declared()
        - {"pyyaml"}
    )  # PyYAML comes with drf-spectacular
    tops = [next((top for top, name in IMPORTED_AS.items() if name == one), one) for one in absent]
    code = f"""
import sys
for name in {tops!r}: sys.modules[name] = None
import django; django.setup()
import leukoweb.wsgi
from django.core.management import get_commands, load_command_class
from django.urls import get_resolver
get_resolver().url_patterns
for command, room in get_commands().items():
    if str(room).startswith("leukoweb."): load_command_class(room, command)
"""
    assert "torch" in tops
    env = os.environ | {"LEUKOWEB_DATA_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_lock_file_pins_every_dependency_within_its_range_and_names_no_address():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    pinned = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    for line in [*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])]:
        requirement = Requirement(line)
        if requirement.name != PROJECT["name"]:
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), line


def test_the_version_is_written_once_and_the_changelog_tells_of_it():
    from django.conf import settings

    version = leukoweb.__version__
    files = [ROOT / "pyproject.toml", *(ROOT / "leukoweb").rglob("*.py"), *(ROOT / "detection").rglob("*.py")]
    assert [path for path in files if f'"{version}"' in path.read_text()] == [ROOT / "leukoweb" / "__init__.py"]
    assert version == settings.VERSION == settings.SPECTACULAR_SETTINGS["VERSION"]
    assert re.search(rf"^## {re.escape(version)}$|^## Unreleased$", (ROOT / "CHANGELOG.md").read_text(), re.M)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build the wheel, install it alone into an empty folder, and run its commands from another one."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels = folder / "wheels"
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, ROOT], check=True)
    (wheel,) = wheels.glob("*.whl")
    site = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", site, wheel], check=True)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LEUKOWEB_", "DJANGO_", "DATABASE_"))}
    env = kept | {"PYTHONPATH": str(site), "HOME": str(elsewhere), "XDG_DATA_HOME": str(elsewhere / "share")}

    def run(program, *arguments):
        return subprocess.run(
            [sys.executable, site / "bin" / program, *map(str, arguments)],
            cwd=elsewhere, env=env, capture_output=True, text=True, timeout=240,
        )  # fmt: skip

    run.site = site
    run.home = elsewhere / "share" / "leukoweb"
    return run


def test_the_wheel_finds_leukocytes_out_of_the_checkout(installed, tmp_path):
    from PIL import Image

    from detection.phantom import draw_field

    field = tmp_path / "field.png"
    Image.fromarray(draw_field(400, 400, um_per_px=0.2, seed=3, leukocytes={"NGS": 4, "LYT": 2}).image).save(field)
    done = installed("leukocytes", "find", field, "--um-per-px", "0.2", "--json", "--cache", tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cells"]


def test_the_wheel_serves_pages_with_their_style_out_of_the_checkout(installed):
    asked = (
        "import leukoweb; print(leukoweb.__file__);"
        "from django.test import Client; print(Client().get('/health/web/', HTTP_HOST='localhost').status_code);"
        "from django.template.loader import get_template; print(get_template('review/workbench.html').origin.name);"
        "from django.contrib.staticfiles import finders; print(finders.find('js/workbench.js'))"
    )
    done = installed("leukoweb", "shell", "-v0", "-c", asked)
    assert done.returncode == 0, done.stderr
    module, status, template, script = done.stdout.split()
    assert status == "200"
    assert all(Path(one).is_relative_to(installed.site) for one in (module, template, script))
    assert (installed.home / "data" / "secret_key").is_file()


def test_the_wheel_carries_every_picture_of_the_demonstration(installed):
    from leukoweb.ops.demo import PICTURES

    inside = installed.site / "leukoweb" / "ops" / PICTURES.name
    sizes = {p.relative_to(PICTURES): p.stat().st_size for p in PICTURES.rglob("*.jpg")}
    assert {p.relative_to(inside): p.stat().st_size for p in inside.rglob("*.jpg")} == sizes != {}


def test_the_wheel_has_the_version_of_the_code_and_its_commands_say_what_they_take(installed):
    (facts,) = importlib.metadata.distributions(name="leukoweb", path=[str(installed.site)])
    assert facts.version == leukoweb.__version__
    assert installed("leukoweb", "version").returncode == 0
    assert "--images" in installed("leukoweb", "run", "--help").stdout
    assert {"find", "train", "evaluate"} <= set(re.findall(r"\w+", installed("leukocytes", "--help").stdout))
