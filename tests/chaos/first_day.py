"""What is there before the first fault: people, their sessions, an interface for orders, cases ready to be signed."""

import secrets

import requests
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from detection.inference.detector import FoundCell
from leukoweb.accounts.models import Laboratory, User
from leukoweb.analysis.detectors import active_detector
from leukoweb.analysis.services import claim_run, store_result
from leukoweb.analysis.uploads import accept_upload
from leukoweb.api.services import give_token
from leukoweb.cases.services import register_case
from leukoweb.delivery.models import Interface
from leukoweb.delivery.services import save_interface
from tests.conftest import PASSWORD
from tests.test_reports import NORMAL, look_at

BOX_PX, IN_A_ROW = 40, 10


def prepare(rig, *, pictures):
    """Make the installation and return the arguments of its Laboratory."""
    call_command("upgrade", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    laboratory = Laboratory.objects.create(name="Central Laboratory")
    people = {
        role: User.objects.create_user(
            role, password=PASSWORD, role=role, laboratory=laboratory, first_name=role.title(),
            statement_accepted_at=timezone.now() if role == "pathologist" else None,
        )
        for role in ("technologist", "pathologist", "admin")
    }  # fmt: skip
    interface = Interface(
        laboratory=laboratory, name="Hospital system", direction="orders_in", port=rig.orders_port, is_active=True,
        codes={"FILM": "film"},
    )  # fmt: skip
    save_interface(interface, by=people["admin"])
    return {
        "token": give_token(people["technologist"])[1],
        "technologist": _session(people["technologist"]),
        "pathologist": _session(people["pathologist"]),
        "to_sign": [_reviewed(f"S-{n}", picture, by=people["technologist"]) for n, picture in enumerate(pictures)],
    }


def _session(person):
    client, browser = Client(), requests.Session()
    client.force_login(person)
    browser.cookies.set(settings.SESSION_COOKIE_NAME, client.cookies[settings.SESSION_COOKIE_NAME].value)
    browser.cookies.set(settings.CSRF_COOKIE_NAME, secrets.token_hex(16), domain="127.0.0.1")
    browser.person = person
    return browser


def _reviewed(accession_number, picture, *, by):
    """A case with a read slide, whose cells were all looked at; its key."""
    case = register_case(
        by=by, mrn=f"M-{accession_number}", patient={"name": f"Sample {accession_number}"},
        case={"accession_number": accession_number},
    )  # fmt: skip
    slide, _ = accept_upload(case, [ContentFile(picture, name="field.png")], by=by, um_per_px=0.2)
    run = claim_run(slide.runs.get().pk, task_id="first day", max_attempts=1)
    codes = [code for code, count in NORMAL.items() for _ in range(count)]
    found = [
        FoundCell(code, 0.9, (x, y, x + BOX_PX - 4.0, y + BOX_PX - 4.0), chances=((code, 0.9),))
        for n, code in enumerate(codes)
        for x, y in [(n % IN_A_ROW * BOX_PX + 1.0, n // IN_A_ROW * BOX_PX + 1.0)]
    ]
    measured = {"um_per_px": 0.2, "scale_method": "uploader", "uncovered_nuclei": []}
    store_result(run, detector=active_detector(), computed_on={}, results=[(slide.images.get(), measured, found)])
    look_at(case, by)
    return case.pk
