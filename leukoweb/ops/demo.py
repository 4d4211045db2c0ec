"""What an installation shows on its first day: three accounts and three cases of real blood, or a folder of images.

The pictures are those of others, passed on under their licences (demo_pictures/, NOTICE); nothing is ever done twice.
What the readers of the demonstration do once the cells are found stands in demo_reading.py.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.files import File
from django.db import transaction
from django.utils import timezone

from leukoweb.accounts.models import Laboratory, User
from leukoweb.accounts.roles import ADMIN, PATHOLOGIST, TECHNOLOGIST
from leukoweb.analysis.uploads import accept_upload
from leukoweb.audit.services import record
from leukoweb.cases.models import Case, Patient
from leukoweb.delivery.models import Interface
from leukoweb.refusals import Refused

DEMO_LABORATORY = "Demonstration Laboratory"
ROLES = (TECHNOLOGIST, PATHOLOGIST, ADMIN)  # the names of the accounts are those of their roles
PICTURES = Path(__file__).parent / "demo_pictures"
IMAGES_AT_MOST = 40
SOURCE = (
    "Pictures: “A dataset of microscopic peripheral blood cell images”, Acevedo et al. 2020, "
    "https://doi.org/10.17632/snkd93bnjr.1, licence https://creativecommons.org/licenses/by/4.0/ (CC BY 4.0). Changes: "
)
COMPOSITION = "A composition: single cells of many people, put together for this demonstration."


@dataclass(frozen=True)
class DemoCase:
    """A case of the demonstration: its pictures, and what an invented patient and analyser add."""

    accession_number: str
    folder: str
    attribution: str
    um_per_px: float
    note: str
    patient: dict[str, Any]
    wbc: str
    priority: str = "routine"


IMMATURE = DemoCase(
    "DEMO-1", "immature", f"{COMPOSITION} {SOURCE}none.", 0.1, f"{COMPOSITION} Many immature cells.",
    {"mrn": "DEMO-A", "name": "Demonstration A, not a patient", "sex": "F", "birth_date": date(1949, 1, 24)}, "24.1",
    "stat",
)  # fmt: skip
NORMAL = DemoCase(
    "DEMO-2", "normal", f"{COMPOSITION} {SOURCE}made smaller (0.125 µm per px) and compressed.", 0.125,
    f"{COMPOSITION} A normal differential.",
    {"mrn": "DEMO-B", "name": "Demonstration B, not a patient", "sex": "F", "birth_date": date(1980, 3, 1)}, "6.4",
)  # fmt: skip
LEFT_SHIFT = DemoCase(
    "DEMO-3", "left_shift", f"{COMPOSITION} {SOURCE}none.", 0.1, f"{COMPOSITION} A left shift.",
    {"mrn": "DEMO-C", "name": "Demonstration C, not a patient", "sex": "M", "birth_date": date(1958, 9, 12)}, "17.8",
)  # fmt: skip
CASES = (IMMATURE, NORMAL, LEFT_SHIFT)  # to be reviewed, ready to sign, signed and amended: see demo_reading.py


def password_file() -> Path:
    """Where the password of the three accounts is kept, readable by the owner of the installation alone."""
    return settings.DATA_DIR / "demo_password"


def make_accounts(password: str = "") -> str | None:
    """Make the three demo accounts in an installation that has none; return their password, or None."""
    if User.objects.exists():
        return None
    password = password or "-".join(secrets.token_hex(2) for _ in range(4))
    validate_password(password)
    with transaction.atomic():
        laboratory = Laboratory.objects.get_or_create(name=DEMO_LABORATORY)[0]
        for role in ROLES:
            person = User.objects.create_user(
                role, password=password, role=role, laboratory=laboratory, first_name="Demo", last_name=role.title(),
                statement_accepted_at=timezone.now() if role == PATHOLOGIST else None,
            )  # fmt: skip
            record("account.create", obj=person, laboratory=laboratory, changes={"role": [None, role]})
        password_file().touch(mode=0o600)
        password_file().write_text(password)
    return password


def running_demonstration() -> str | None:
    """Return the password of the demo accounts while this installation is a demonstration and nothing else.

    One account of a real person or one case of a patient ends it; interfaces have accounts that nobody signs in to.
    """
    people = User.objects.exclude(pk__in=Interface.objects.values("acts_as"))
    if (
        not password_file().is_file()
        or people.exclude(username__in=ROLES, laboratory__name=DEMO_LABORATORY).exists()
        or Case.objects.filter(is_demonstration=False).exists()
    ):
        return None
    return password_file().read_text()


def first_cases(images: Path | None = None) -> list[Case]:
    """Register the demo cases, or one of own images, and queue their analysis; [] where cases are there already."""
    people = User.objects.filter(role=TECHNOLOGIST, is_active=True)
    by = (people if images else people.filter(laboratory__name=DEMO_LABORATORY)).order_by("pk").first()
    if by is None:
        return []
    if images:
        number = f"IMAGES-{images.name}"[:64]
        return [] if Case.objects.filter(accession_number=number).exists() else [_case_of_images(images, number, by)]
    return [] if Case.objects.exists() else [_demo_case(plan, by) for plan in CASES]


def _demo_case(plan: DemoCase, by: User) -> Case:
    with transaction.atomic():
        case = _register(
            by, plan.accession_number, plan.patient, is_demonstration=True, clinical_note=plan.note,
            wbc=plan.wbc, wbc_unit=Case.WbcUnit.GIGA_PER_L, wbc_source="invented", wbc_at=timezone.now(),
            priority=plan.priority,
        )  # fmt: skip
        _upload(case, sorted((PICTURES / plan.folder).glob("*.jpg")), by, label="Composition",
                um_per_px=plan.um_per_px, attribution=plan.attribution)  # fmt: skip
    return case


def _case_of_images(folder: Path, number: str, by: User) -> Case:
    paths = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    patient = {"mrn": "IMAGES", "name": "Images from a folder", "sex": Patient.Sex.UNKNOWN}
    with transaction.atomic():
        case = _register(by, number, patient, clinical_note="Images from a folder.")
        _upload(case, paths[:IMAGES_AT_MOST], by, label="1")
    return case


def _register(by: User, number: str, patient: dict[str, Any], **fields: Any) -> Case:
    person = Patient.objects.get_or_create(laboratory=by.laboratory, mrn=patient["mrn"], defaults=patient)[0]
    case = Case.objects.create(
        laboratory=by.laboratory, patient=person, accession_number=number, registered_by=by, **fields
    )
    record("case.register", actor=by, obj=case, case=case)
    return case


def _upload(case: Case, paths: Sequence[Path], by: User, **slide: Any) -> None:
    files = [File(path.open("rb"), name=path.name) for path in paths]
    made, refused = accept_upload(case, files, by=by, **slide)
    for file in files:
        file.close()
    if made is None:
        why = refused[0].sentence if refused else "the folder is empty."
        raise Refused(f"No image of {paths[0].parent if paths else 'the folder'} could be taken: {why}")
