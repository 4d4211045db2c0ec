"""One table: role x address x method -> what happens. An address that is not in the table fails the test.

A row is `"url_name": (GET, POST)`; each side is five words for anonymous, technologist, pathologist, admin and outsider
(a pathologist of another laboratory), or one word for all five:
    in   sent to sign-in, or 401
    ok   allowed: the page, a redirect, or a refusal of what was sent (400, 409, 422 ...)
    403  the role does not allow it
    404  it does not exist for this person
    no   nothing: one of in, 403, 404, 405
Arguments of an address come from OBJECTS by the first fitting beginning of its route. No GET changes a row.
"""

import re
from datetime import date
from http.cookies import SimpleCookie

import pytest
from django.db import connection
from django.test import Client
from django.urls import URLPattern, get_resolver, reverse

from leukoweb.accounts.models import User
from leukoweb.analysis.models import FilmCount, FilmImage
from leukoweb.cases.store import derived_folder, original_path
from tests.conftest import taken_back

pytestmark = pytest.mark.slow

ROLES = ("anonymous", "technologist", "pathologist", "admin", "outsider")
ALL, OWN, SIGNED_IN = "ok", "in ok ok 403 404", "in ok ok ok ok"
READERS, PATHOLOGISTS, ADMINS = "in ok ok 403 ok", "in 403 ok 403 ok", "in 403 403 ok 403"
SIGNER_OWN = "in 403 ok 403 404"

CLOSED = ("in", "403", "404", "405")

# Who looked at what is recorded, and the clocks of sessions and tokens run; nothing else may be written by a look.
WRITTEN_BY_A_LOOK = re.compile(
    r'(INSERT INTO "audit_event"'
    r'|(INSERT INTO|UPDATE) "django_session"'
    r'|UPDATE "accounts_user" SET "last_seen_at" = \S+ WHERE'
    r'|DELETE FROM "usersessions_usersession")'  # django-allauth drops the rows of sessions that have ended
)

TABLE = {
    # one's own account
    "home": (SIGNED_IN, SIGNED_IN),
    "sign_in": (ALL, ALL),
    "account_login": (ALL, ALL),
    "sign_out": (ALL, ALL),
    "account_logout": (ALL, ALL),
    "account_inactive": (ALL, "no"),
    "account_signup": (ALL, ALL),  # a page that says who makes accounts
    "password_change": (SIGNED_IN, SIGNED_IN),
    "account_change_password": (SIGNED_IN, SIGNED_IN),
    "account_set_password": (SIGNED_IN, SIGNED_IN),
    "account_reauthenticate": (SIGNED_IN, SIGNED_IN),
    "mfa_index": (SIGNED_IN, "no"),
    "mfa_authenticate": (ALL, ALL),  # without a password before: back to sign-in
    "mfa_reauthenticate": (SIGNED_IN, SIGNED_IN),
    "mfa_activate_totp": (SIGNED_IN, SIGNED_IN),
    "mfa_deactivate_totp": ("no", "no"),  # 404 without a second factor
    "mfa_view_recovery_codes": ("no", "no"),
    "mfa_generate_recovery_codes": (SIGNED_IN, SIGNED_IN),
    "mfa_download_recovery_codes": ("no", "no"),
    "mfa_list_webauthn": (SIGNED_IN, "no"),
    "mfa_add_webauthn": (SIGNED_IN, SIGNED_IN),
    "mfa_reauthenticate_webauthn": (SIGNED_IN, SIGNED_IN),
    "mfa_remove_webauthn": (SIGNED_IN, SIGNED_IN),  # the password first
    "mfa_edit_webauthn": (SIGNED_IN, SIGNED_IN),
    "usersessions_list": (SIGNED_IN, SIGNED_IN),
    "session_end": ("no", "in 404 404 404 404"),  # somebody else's session
    "socialaccount_login_cancelled": (ALL, "no"),
    "socialaccount_login_error": ("in", "no"),
    "socialaccount_signup": (ALL, ALL),  # closed: back to sign-in
    "socialaccount_connections": (SIGNED_IN, SIGNED_IN),
    "openid_connect_login": ("404", "404"),  # no identity provider is set
    "openid_connect_callback": ("404", "404"),
    "invitation": (ALL, ALL),  # the token decides
    "statement": (PATHOLOGISTS, PATHOLOGISTS),
    "language": (SIGNED_IN, SIGNED_IN),
    "javascript_catalog": (ALL, "no"),  # the sentences of the scripts, no secret
    "session_state": (ALL, "no"),  # 0 seconds for who is signed out
    "session_stay": ("no", SIGNED_IN),
    # administration
    "user_list": (ADMINS, "no"),
    "user_invite": (ADMINS, ADMINS),
    "user_import": (ADMINS, ADMINS),
    "user_detail": (ADMINS, ADMINS),
    "user_invitation": ("no", ADMINS),
    "user_active": ("no", ADMINS),
    "user_reset_password": ("no", ADMINS),
    "user_reset_factor": ("no", ADMINS),
    "user_unlock": ("no", ADMINS),
    "user_end_sessions": ("no", ADMINS),
    "all_tokens": (ADMINS, "no"),
    "any_token_revoke": ("no", "in 403 403 404 403"),  # there is none of this key
    "emergency_list": (ADMINS, "no"),
    "emergency_follow_up": ("no", "in 403 403 404 403"),  # there is none
    "laboratory_list": (ADMINS, "no"),
    "laboratory_create": (ADMINS, ADMINS),
    "laboratory_logo": ("in 404 404 404 404", "no"),  # one that is not there; who is signed in sees any
    "laboratory_edit": (ADMINS, ADMINS),
    "audit_log": (ADMINS, "no"),
    "audit_csv": (ADMINS, "no"),
    "audit_head": (ADMINS, "no"),
    "detector_list": (ADMINS, "no"),
    "detector_detail": (ADMINS, "no"),
    "detector_activate": ("no", ADMINS),
    "detector_compare": (ADMINS, ADMINS),
    "calibration_switch": ("no", ADMINS),
    "policy_edit": (ADMINS, ADMINS),
    "critical_policy_edit": (ADMINS, ADMINS),
    "phrase_list": (ADMINS, ADMINS),
    "review_rules": (ADMINS, ADMINS),
    "delta_rules": (ADMINS, ADMINS),
    "suggestion_rules": (ADMINS, ADMINS),
    "phrase_delete": ("no", ADMINS),
    # cases and slides
    "worklist": (READERS, READERS),
    "worklist_live": (READERS, "no"),
    "case_list": (READERS, READERS),
    "case_register": (READERS, READERS),
    "patient_lookup": ("no", READERS),
    "emergency_open": (PATHOLOGISTS, PATHOLOGISTS),
    "case_edit": (OWN, OWN),
    "case_hold": (OWN, OWN),
    "case_reject": (OWN, OWN),
    "slide_upload": (OWN, OWN),
    "tus_create": ("no", READERS),
    "uploads_discard": ("no", "in 404 404 403 404"),  # the case comes in the form
    "tus_upload": ("no", "no"),  # HEAD, PATCH and DELETE: see the tests of uploads
    "case_detail": (OWN, "no"),
    "case_live": (OWN, "no"),
    "slide_detail": (OWN, "no"),
    "slide_progress": (OWN, "no"),
    "slide_retry": ("no", OWN),
    "slide_stop": ("no", OWN),
    "slide_set_aside": ("no", OWN),
    "slide_include": ("no", OWN),
    "slide_reread": ("no", OWN),
    "slide_regions": ("no", OWN),
    "slide_scale": ("no", OWN),
    "image_original": (OWN, "no"),
    "image_tile": (OWN, "no"),
    "cell_crop": (OWN, "no"),
    "clump_crop": (OWN, "no"),
    "cell_around": (OWN, "no"),
    # review
    "workbench": (OWN, "no"),
    "slide_cells": (OWN, "no"),
    "case_cells": (OWN, "no"),
    "case_presence": ("no", OWN),
    "case_place": (OWN, "no"),
    "case_assign": ("no", OWN),
    "case_preview": (OWN, "no"),
    "case_decisions": ("no", OWN),
    "case_findings": (OWN, OWN),
    "finding_picture": (OWN, "no"),
    "case_suggestion": ("no", OWN),
    "case_film": (OWN, "no"),
    "case_film_accept": ("no", OWN),
    "slide_elements": (OWN, "no"),
    "case_scanned": ("no", READERS),  # of other cases it says that there is none
    "reference_cells": (READERS, "no"),
    "reader_keys": ("no", READERS),
    "atlas_list": (SIGNED_IN, ADMINS),
    "atlas_picture": ("in 404 404 404 404", "no"),  # there is none of this key
    "atlas_delete": ("no", "in 403 403 404 403"),
    "reference_detail": (OWN, "no"),
    "reference_start": ("no", OWN),
    "reference_read": (OWN, OWN),
    "reference_leave": ("no", OWN),
    "reference_cancel": ("no", SIGNER_OWN),
    "reference_settle": ("no", SIGNER_OWN),
    # reports
    "flag_acknowledge": ("no", OWN),
    "critical_list": (READERS, "no"),
    "critical_csv": (READERS, "no"),
    "critical_exceptions": ("in 403 ok ok ok", "in 403 ok ok ok"),
    "exception_withdraw": ("no", "in 403 ok ok 404"),
    "critical_receipt": ("no", OWN),
    "critical_call": ("no", OWN),
    "critical_close": ("no", OWN),
    "case_hand_over": ("no", OWN),
    "case_take_back": ("no", OWN),
    "case_return": ("no", SIGNER_OWN),
    "case_sign": (SIGNER_OWN, SIGNER_OWN),
    "report_detail": (OWN, "no"),
    "report_pdf": (OWN, "no"),
    "report_export": (OWN, "no"),
    "report_policies": ("in 403 403 403 404", "no"),  # a draft has none frozen
    "report_amend": ("no", SIGNER_OWN),
    "report_withdraw": ("no", SIGNER_OWN),
    "amendment_cancel": ("no", SIGNER_OWN),
    "case_rejection": ("in 404 404 403 404", "no"),  # the case is not rejected
    "case_rejection_pdf": ("in 404 404 403 404", "no"),
    "report_verify": (READERS, READERS),
    "patient_detail": (OWN, "no"),
    "merge_list": (SIGNED_IN, "no"),
    "merge_propose": ("no", SIGNED_IN),
    "merge_two_persons": ("no", ADMINS),
    "merge_decide": ("no", "in ok ok ok 404"),
    "alarm_dismiss": ("no", OWN),
    "alarm_escalate": ("no", OWN),
    # interfaces and messages
    "interface_list": (ADMINS, "no"),
    "interface_add": (ADMINS, ADMINS),
    "interface_edit": (ADMINS, ADMINS),
    "interface_codes": (ADMINS, ADMINS),
    "counts_upload": (READERS, READERS),
    "message_list": (READERS, "no"),
    "message_detail": (OWN, "no"),
    "message_replay": ("no", OWN),
    "message_dismiss": ("no", OWN),
    "message_send": ("no", OWN),
    # the programming interface
    "api_schema": (ALL, "no"),
    "api_docs": (ALL, "no"),
    "api_token": ("no", ALL),  # name and password decide
    "api_token_revoke": ("no", SIGNED_IN),
    "api_cases": (READERS, READERS),
    "api_case_find": ("no", READERS),  # the number comes in the body
    "api_case_by_id": (OWN, "no"),
    "api_case_slides_by_id": ("no", OWN),
    "api_differential_by_id": (OWN, "no"),
    "api_delta_alarms_by_id": (OWN, "no"),
    "api_report_by_id": (OWN, "no"),
    "api_report_pdf_by_id": (OWN, "no"),
    "api_case": (OWN, "no"),
    "api_case_slides": ("no", OWN),
    "api_differential": (OWN, "no"),
    "api_report": (OWN, "no"),
    "api_report_pdf": (OWN, "no"),
    "api_report_pdf_below": (OWN, "no"),
    "api_criticals": (READERS, "no"),
    "api_merges": (SIGNED_IN, SIGNED_IN),
    "api_merge_decide": ("no", "in ok ok ok 404"),
    "api_slide": (OWN, "no"),
    "api_slide_scale": ("no", OWN),
    "api_slide_regions": (OWN, OWN),
    "api_slide_film": (OWN, "no"),
    "api_slide_stop": ("no", OWN),
    "api_slide_retry": ("no", OWN),
    "api_slide_set_aside": ("no", OWN),
    "api_slide_cells": (OWN, "no"),
    "api_cell_decisions": (OWN, OWN),
    "api_findings_by_id": (OWN, OWN),
    "api_suggestions_by_id": (OWN, OWN),
    "fhir_metadata": (ALL, "no"),
    "fhir_type": (READERS, READERS),
    "fhir_search": ("no", READERS),
    "fhir_resource": (OWN, "no"),
    "fhir_nowhere": ("in 404 404 403 404", "no"),
    "token_list": (SIGNED_IN, SIGNED_IN),
    "token_revoke": ("no", "in 404 404 404 404"),  # somebody else's token
    # a first visit
    "help": (SIGNED_IN, "no"),
    "demonstration_enter": ("no", "404"),  # this installation is no demonstration
    # operation
    "health": (ALL, "no"),  # words only for who may see the system
    "health_web": (ALL, "no"),
    "health_ready": (ALL, "no"),
    "health_live": (ALL, "no"),
    "metrics": ("403 403 403 ok 403", "no"),
}

# The beginning of a route -> its arguments, made from the cast; the first that fits counts.
OBJECTS = [
    ("fhir/<slug:kind>/<slug:key>", lambda c: {"kind": "DiagnosticReport", "key": c.case.pk}),
    ("fhir/<path", lambda c: {"rest": "Patient/1/_history/1"}),
    ("fhir/", lambda c: {"kind": "ServiceRequest"}),
    ("criticals/exceptions/", lambda c: {"pk": c.exception.pk}),
    ("criticals/", lambda c: {"pk": c.critical.pk}),
    ("interfaces/", lambda c: {"pk": c.interface.pk}),
    ("messages/", lambda c: {"pk": c.message.pk}),
    ("account/hospital/oidc/", lambda c: {"provider_id": "hospital"}),
    ("account/second-factor/webauthn/keys/", lambda c: {"pk": 1}),
    ("account/sessions/", lambda c: {"pk": 10**6}),
    ("account/invitation/", lambda c: {"uidb64": "MQ", "token": "set-password"}),
    ("sign-in/demonstration/", lambda c: {"role": "pathologist"}),
    ("account/tokens/", lambda c: {"pk": 10**6}),
    ("manage/users/", lambda c: {"pk": c.newcomer.pk}),
    ("manage/tokens/", lambda c: {"pk": 10**6}),
    ("manage/emergencies/", lambda c: {"pk": 10**6}),
    ("logos/", lambda c: {"sha256": "0" * 64}),
    ("manage/laboratories/", lambda c: {"pk": c.case.laboratory_id}),
    ("manage/phrases/", lambda c: {"pk": c.phrase.pk}),
    ("manage/detectors/<int:pk>/against/", lambda c: {"pk": c.detector.pk, "other_pk": c.detector.pk}),
    ("manage/calibrations/", lambda c: {"pk": c.calibration.pk}),
    ("manage/detectors/", lambda c: {"pk": c.detector.pk}),
    ("atlas/", lambda c: {"pk": 10**6}),
    ("cells/references/", lambda c: {"code": "MYO"}),
    ("cells/", lambda c: {"pk": c.cell.pk}),
    ("film/", lambda c: {"pk": c.film.pk, "number": 0}),
    ("images/<int:pk>/findings/", lambda c: dict(zip(("pk", "x1", "y1", "x2", "y2"), c.box))),
    ("images/<int:pk>/tiles/", lambda c: {"pk": c.image.pk, "level": 0, "column": 0, "row": 0}),
    ("images/", lambda c: {"pk": c.image.pk}),
    ("slides/", lambda c: {"pk": c.slide.pk}),
    ("alarms/", lambda c: {"pk": c.alarm.pk}),
    ("patients/merges/", lambda c: {"pk": c.merge.pk}),
    ("patients/", lambda c: {"pk": c.case.patient_id}),
    ("reports/<int:pk>/export", lambda c: {"pk": c.report.pk, "form": "json"}),
    ("reports/", lambda c: {"pk": c.report.pk}),
    ("uploads/", lambda c: {"pk": "00000000-0000-4000-8000-000000000000"}),
    ("cases/", lambda c: {"pk": c.case.pk}),
    ("api/v1/cases/id/", lambda c: {"pk": c.case.pk}),
    ("api/v1/cases/", lambda c: {"accession_number": c.case.accession_number}),
    ("api/v1/patient-merges/", lambda c: {"pk": c.merge.pk}),
    ("api/v1/slides/", lambda c: {"pk": c.slide.pk}),
    ("api/v1/cells/", lambda c: {"pk": c.cell.pk}),
]


def routes(resolver=None, before=""):
    """Every (name, route, pattern) of the product."""
    for entry in (resolver or get_resolver()).url_patterns:
        route = before + str(entry.pattern).lstrip("^")
        if isinstance(entry, URLPattern):
            yield entry.name or f"no name: {route}", route, entry
        else:
            yield from routes(entry, route)


class Cast:
    """One case with everything that an address can name."""


@pytest.fixture
def cast(laboratory, technologist, pathologist, admin, outsider, make_case, make_slide):
    from leukoweb.delivery.models import Interface
    from leukoweb.delivery.services import receive, save_interface
    from leukoweb.review.models import Phrase, Report
    from leukoweb.review.urgency import keep_flags

    c = Cast()
    c.people = {"technologist": technologist, "pathologist": pathologist, "admin": admin, "outsider": outsider}
    c.newcomer = User.objects.create_user("newcomer", laboratory=laboratory)
    c.case = make_case()
    c.slide = make_slide(c.case, {"NGS": 3, "MYO": 1})
    keep_flags(c.case)
    c.critical = c.case.criticals.get()
    c.exception = c.case.patient.critical_exceptions.create(
        limits={"blasts": "Blasts"}, until=date(2999, 1, 1), reason="Known.", set_by=pathologist
    )
    c.alarm = c.case.delta_alarms.create(
        key="haemoglobin", number=1, title="Haemoglobin", is_mix_up=True, policy_version=1,
        fact={"name": "Haemoglobin", "unit": "g/L", "now": "90", "before": "140", "change": -50.0, "limit": 30,
              "before_accession": "A-1", "before_at": "2026-11-01T08:00:00+00:00", "measure": "amount", "span": "72h",
              "source": "ours"},
    )  # fmt: skip
    other = c.case.patient.laboratory.patients.create(mrn="M-78", name="Edelgard Wintermute")
    c.merge = c.case.patient.merges_into.create(ended=other, reason="One person.", proposed_by=technologist)
    c.image = c.slide.images.get()
    c.detector = c.slide.runs.get().detector
    c.calibration = c.detector.calibrations.create(
        laboratory=laboratory,
        sha256="0" * 64,
        fitted={"cells": 1, "colour": None, "typed_right": {"before": [0, 0, 1], "after": [1, 0, 1]}},
    )
    c.cell = c.image.cells.first()
    c.film = FilmImage.objects.create(
        count=FilmCount.objects.create(run=c.slide.runs.get()), image=c.image, um_per_px=0.2, area_um2=1.0,
        red_cells=1, platelets=1, boxes={}, clumps=[[3, 100, 100, 140, 140]],
    )  # fmt: skip
    c.box = [c.image.pk, 0, 0, 40, 40]
    c.case.findings.create(key="sickle_cells", value="1", pictures=[c.box], marked_by=technologist)
    c.report = Report.objects.create(case=c.case, created_by=pathologist)
    c.interface = save_interface(Interface(laboratory=laboratory, name="HIS", direction="orders_in", port=1), by=admin)
    receive(c.interface, b"PID|1")
    c.message = c.interface.messages.get()
    c.phrase = Phrase.objects.create(laboratory=laboratory, name="Normal", text="Nothing unusual.")
    for path in (original_path(c.image.sha256), *_tiles(c.image)):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _draw(path)
    return c


def _tiles(image):
    folder = derived_folder(image.sha256) / "pyramid"
    finest = (max(image.width_px, image.height_px) - 1).bit_length()
    return [folder / "0" / "0_0.jpg", *(folder / str(finest) / f"{x}_{y}.jpg" for x in range(4) for y in range(4))]


def _draw(path):
    from PIL import Image

    Image.new("RGB", (512, 512), "lavender").save(path, "JPEG")


def arguments(route, cast):
    if "<" not in route:
        return {}
    for beginning, values in OBJECTS:
        if route.startswith(beginning):
            return values(cast)
    raise AssertionError(f"OBJECTS has no arguments for {route}: add a line.")


def what_happened(response) -> str:
    """One word of the table."""
    if response.status_code == 401 or (response.status_code == 302 and response.url.startswith("/sign-in/?next=")):
        return "in"
    return str(response.status_code) if response.status_code in (403, 404, 405) else "ok"


def expected(side, role) -> str:
    words = side.split()
    assert len(words) in (1, 5), f"a row has one word or five, not {side!r}"
    return words[0] if len(words) == 1 else words[ROLES.index(role)]


def test_every_address_is_in_the_table_and_every_row_has_an_address():
    names = {name for name, _, _ in routes()}
    assert names - TABLE.keys() == set(), "add a row to TABLE for each of these"
    assert TABLE.keys() - names == set(), "these rows have no address any more"


@pytest.fixture
def written():
    """The statements that changed something, in the order of their sending."""
    statements = []

    def watch(execute, sql, params, many, context):
        if re.match(r"\s*(INSERT|UPDATE|DELETE|REPLACE)", sql) and not WRITTEN_BY_A_LOOK.match(sql):
            statements.append(sql[:120])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield statements


@pytest.mark.parametrize("role", ROLES)
def test_each_role_gets_what_the_table_says_and_changes_nothing_by_looking(role, cast, written):
    """Each request starts from the same rows: what it changed is taken back."""
    client = Client(raise_request_exception=False)
    if role != "anonymous":
        client.force_login(cast.people[role])
    cookies = client.cookies.output(header="", sep=";")
    wrong = []
    for name, route, _ in routes():
        if name not in TABLE:
            continue  # the test above names it
        address = reverse(name, kwargs=arguments(route, cast))
        opened = False
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            if opened and method not in ("GET", "POST"):
                continue  # what is open by these two is theirs; no other method may open what they keep closed
            client.cookies = SimpleCookie(cookies)
            written.clear()
            with taken_back():
                response = client.generic(method, address, content_type="application/x-www-form-urlencoded")
            if method == "GET" and written:
                wrong.append(f"GET {name} changed something: {written}")
            seen = what_happened(response)
            opened |= seen == "ok"
            if method in ("GET", "POST"):
                wanted = expected(TABLE[name][method == "POST"], role)
                fits = seen in CLOSED if wanted == "no" else seen == wanted
            else:
                wanted, fits = "no", seen in CLOSED
            if (response.status_code >= 500 and response.status_code != 503) or not fits:
                wrong.append(
                    f"{method} {name}: {wanted} expected, {response.status_code} {response.get('Location', '')}"
                )
    assert wrong == []


def test_an_outsider_who_tries_every_id_of_another_laboratory_finds_nothing(cast, client):
    """Each object address with every id around those that exist: 404, as for ids that do not exist."""
    client.force_login(cast.people["outsider"])
    found, tried = [], 0
    for name, route, _ in routes():
        side = TABLE.get(name, ("", ""))[0]
        if side not in (OWN, SIGNER_OWN):
            continue
        values = arguments(route, cast)
        for pk in range(max(1, values["pk"] - 4), values["pk"] + 5) if "pk" in values else [None]:
            values |= {"pk": pk} if pk else {}
            tried += 1
            if client.get(reverse(name, kwargs=values)).status_code != 404:
                found.append((name, pk))
    assert tried > 50
    assert found == []
