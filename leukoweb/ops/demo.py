"""What an installation shows on its first day: three accounts and one case, drawn or from a folder of images.

Drawn fields are marked as drawn wherever they appear; nothing here is ever done twice.
"""

import io
import secrets
from pathlib import Path

from django.contrib.auth.password_validation import validate_password
from django.core.files import File
from django.core.files.base import ContentFile
from django.db import transaction
from django.utils import timezone

from leukoweb.accounts.models import Laboratory, User
from leukoweb.accounts.roles import ADMIN, PATHOLOGIST, TECHNOLOGIST
from leukoweb.analysis.uploads import accept_upload
from leukoweb.audit.services import record
from leukoweb.cases.models import Case, Patient
from leukoweb.refusals import Refused

DEMO_LABORATORY = "Demonstration Laboratory"
UM_PER_PX = 0.11
FIELDS = (
    {"NGS": 30, "NGB": 5, "LYT": 16, "MON": 4, "EOS": 3},
    {"NGS": 27, "NGB": 2, "LYT": 18, "MON": 3, "EBO": 1, "BAS": 1, "MYO": 3},
)
WBC = {"wbc": "6.4", "wbc_unit": Case.WbcUnit.GIGA_PER_L, "wbc_source": "invented"}
FIELD_PX = (2400, 1800)
IMAGES_AT_MOST = 40


def make_accounts(password: str = "") -> str | None:
    """Make the three demo accounts in an installation that has none; return their password, or None."""
    if User.objects.exists():
        return None
    password = password or "-".join(secrets.token_hex(2) for _ in range(4))
    validate_password(password)
    with transaction.atomic():
        laboratory = Laboratory.objects.get_or_create(name=DEMO_LABORATORY)[0]
        for role in (TECHNOLOGIST, PATHOLOGIST, ADMIN):
            person = User.objects.create_user(
                role, password=password, role=role, laboratory=laboratory, first_name="Demo", last_name=role.title(),
                statement_accepted_at=timezone.now() if role == PATHOLOGIST else None,
            )  # fmt: skip
            record("account.create", obj=person, laboratory=laboratory, changes={"role": [None, role]})
    return password


def first_case(images: Path | None = None) -> Case | None:
    """Register the demo case and queue its analysis; None where it, or any case in its place, is already there."""
    people = User.objects.filter(role=TECHNOLOGIST, is_active=True)
    by = (people if images else people.filter(laboratory__name=DEMO_LABORATORY)).order_by("pk").first()
    accession_number = f"IMAGES-{images.name}"[:64] if images else "DEMO-1"
    cases = Case.objects.filter(accession_number=accession_number) if images else Case.objects.all()
    if by is None or cases.exists():
        return None
    files = _files_of(images) if images else _drawn_fields()
    with transaction.atomic():
        patient = Patient.objects.get_or_create(
            laboratory=by.laboratory,
            mrn="DEMO",
            defaults={"name": "Demonstration, not a patient", "sex": Patient.Sex.UNKNOWN},
        )[0]
        case = Case.objects.create(
            laboratory=by.laboratory,
            patient=patient,
            accession_number=accession_number,
            clinical_note="Images from a folder." if images else "Drawn fields, no blood: made to show the product.",
            registered_by=by,
            **({} if images else WBC | {"wbc_at": timezone.now()}),
        )
        record("case.register", actor=by, obj=case, case=case)
        slide, refused = accept_upload(
            case,
            files,
            label="1" if images else "drawn",
            um_per_px=None if images else UM_PER_PX,
            by=by,
            is_drawn=images is None,
        )
        if slide is None:
            raise Refused(
                f"No image of {images} could be taken: {refused[0].sentence if refused else 'the folder is empty.'}"
            )
    return case


def _files_of(folder: Path) -> list[File]:
    paths = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return [File(path.open("rb"), name=path.name) for path in paths[:IMAGES_AT_MOST]]


def _drawn_fields() -> list[File]:
    from PIL import Image

    from detection.phantom import draw_field

    files = []
    for number, leukocytes in enumerate(FIELDS, start=1):
        phantom = draw_field(*FIELD_PX, um_per_px=UM_PER_PX, seed=number, leukocytes=leukocytes)
        png = io.BytesIO()
        Image.fromarray(phantom.image).save(png, "PNG")
        files.append(ContentFile(png.getvalue(), name=f"drawn-field-{number}.png"))
    return files
