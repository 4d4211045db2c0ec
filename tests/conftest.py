"""The cast, the real images and the services that tests share; nothing here asserts."""

import os
import tempfile
from pathlib import Path

# Before Django reads its settings: tests never touch the installation's own folder.
os.environ.setdefault("LEUKOWEB_DATA_DIR", tempfile.mkdtemp(prefix="leukoweb-test-"))
os.environ.setdefault("LEUKOWEB_STATICFILES_BACKEND", "django.contrib.staticfiles.storage.StaticFilesStorage")

import pytest  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_images() -> Path | None:
    """The folder of real smears, or None: then tests draw phantom fields (on CI its absence is a failure)."""
    if SHARED.is_dir():
        return SHARED
    assert os.environ.get("CI") != "true", "the real images are absent on CI"
    return None


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
    from leukoweb.accounts.models import User

    return User.objects.create_user(
        username, password=PASSWORD, role=role, laboratory=laboratory, first_name=username.title(), **more
    )


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
        patient = fields.pop("patient", None) or Patient.objects.get_or_create(
            laboratory=lab, mrn="M-77", defaults={"name": "Edelgard Wintermute", "sex": "F", "birth_date": "1961-05-04"}
        )[0]
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
