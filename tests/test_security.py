"""The web's own dangers: headers, hosts, forged forms, injections, error pages and logs without patients."""

import io
import logging
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import include, path, reverse

from tests.conftest import PASSWORD

ROOT = Path(__file__).resolve().parent.parent
NAME, MRN, NOTE = "Edelgard Wintermute", "M-7734501", "suspected relapse of a rare thing"

NASTY = [
    "' OR 1=1 --",
    "'; DROP TABLE audit_event; --",
    '" UNION SELECT password FROM accounts_user --',
    "{{ settings.SECRET_KEY }}",
    "{% debug %}",
    "${7*7}",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/etc/passwd\x00.png",
    "a\r\nSet-Cookie: owned=1",
    "a\nLocation: https://evil.example/",
    "\x00",
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    "𝕬" * 300,
    "A" * 20_000,
    "9" * 400,
    "-1",
    "1e308",
    "NaN",
    "\u202eexe.gpj",
]


def fails(request, **kwargs):
    """A page that breaks with a patient's name in its hands."""
    patient = f"{NAME} {MRN}"
    raise RuntimeError(f"something about {patient}")


def plain(request):
    return HttpResponse("ok")


urlpatterns = [path("fails/", fails), path("", include("leukoweb.urls"))]


# --- headers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pages(sign_in, admin, technologist, make_case, make_slide):
    """Pages of each kind, as (address, response)."""
    slide = make_slide(make_case(), {"NGS": 2})
    own = ["/account/sessions/", "/account/second-factor/", "/manage/users/", "/manage/audit/", "/nothing-here/"]
    work = [reverse("case_list"), reverse("case_register"), reverse("case_detail", args=[slide.case_id])]
    answers = [(a, sign_in(admin).get(a)) for a in own]
    answers += [
        (a, sign_in(technologist).get(a)) for a in [*work, "/manage/users/", reverse("slide_detail", args=[slide.pk])]
    ]
    return [*answers, ("/sign-in/", Client().get("/sign-in/")), ("/api/v1/", Client().get("/api/v1/"))]


def test_every_page_has_a_strict_policy_and_the_other_headers(pages):
    for address, page in pages:
        policy = page["Content-Security-Policy"]
        assert "unsafe" not in policy, address
        assert "default-src 'none'" in policy, address
        assert "frame-ancestors 'none'" in policy, address
        assert not re.search(r"https?:|\*", policy), address
        assert page["X-Content-Type-Options"] == "nosniff", address
        assert page["X-Frame-Options"] == "DENY", address
        assert page["Referrer-Policy"] == "same-origin", address
        assert "camera=()" in page["Permissions-Policy"], address
        assert page["Cross-Origin-Opener-Policy"] == "same-origin", address


def test_no_page_needs_what_the_policy_forbids(pages):
    """No script, style or event of its own inside the page, and nothing from another host."""
    for address, page in pages:
        body = page.content.decode()
        for script in re.findall(r"<script\b[^>]*>", body):
            assert " src=" in script or 'type="application/json"' in script, (address, script)
        assert not re.findall(r"<[^>]+\son\w+\s*=", body), address
        assert not re.findall(r"<[^>]+\sstyle\s*=", body), address
        assert not re.findall(r"""(?:src|action)=["'](?:https?:)?//""", body), address


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(client, technologist):
    client.post("/sign-in/", {"username": "tess", "password": PASSWORD})
    session = client.cookies["sessionid"]
    assert session["httponly"]
    assert session["samesite"] == "Lax"
    assert not session["expires"]  # gone with the browser


@pytest.mark.slow
def test_a_deployment_passes_the_deployment_check(tmp_path):
    """`check --deploy` with the environment of production: no warning; cookies are secure, HSTS is on."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LEUKOWEB_DATA_DIR": str(tmp_path),
        "LEUKOWEB_ENV_FILE": "",
        "LEUKOWEB_HTTPS": "true",
        "LEUKOWEB_BEHIND_PROXY": "true",
        "LEUKOWEB_ALLOWED_HOSTS": "leukoweb.example",
        "LEUKOWEB_TRUSTED_ORIGINS": "https://leukoweb.example",
        "LEUKOWEB_SECRET_KEY": secrets.token_urlsafe(60),
    }
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    asked = (
        "from django.conf import settings as s;"
        "print(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SECURE_HSTS_SECONDS);"
        "print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME)"
    )
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", asked], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.stdout.split() == ["True", "True", "31536000", "__Host-sessionid", "__Host-csrftoken"]


@pytest.mark.slow
def test_a_role_that_does_not_exist_stops_the_start(tmp_path):
    """Whoever misspells it must not believe that pathologists need a second factor."""
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LEUKOWEB_DATA_DIR": str(tmp_path),
           "LEUKOWEB_ENV_FILE": "", "LEUKOWEB_SECOND_FACTOR_ROLES": "patologist"}  # fmt: skip
    done = subprocess.run([sys.executable, "manage.py", "check"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode != 0
    assert "the roles are technologist, pathologist, admin" in done.stderr


# --- hosts and forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "testserver@evil.example", "127.0.0.1:80:80"]
)
def test_another_host_name_is_refused_without_echo(client, host, db):
    page = client.get("/sign-in/", headers={"Host": host})
    assert page.status_code == 400
    assert "evil" not in page.content.decode()


def test_a_forged_form_changes_nothing_and_is_told_so(technologist, make_case):
    case = make_case()
    client = Client(enforce_csrf_checks=True)
    client.force_login(technologist)
    page = client.post(reverse("case_reject", args=[case.pk]), {"reason": "forged"})
    assert page.status_code == 403
    assert "came from another site" in page.content.decode()
    case.refresh_from_db()
    assert case.rejected_at is None


def test_no_page_can_be_framed_or_loads_with_another_type(sign_in, technologist, make_case):
    page = sign_in(technologist).get(reverse("case_detail", args=[make_case().pk]))
    assert page["X-Frame-Options"] == "DENY"
    assert page["Content-Type"].startswith("text/html")


# --- error pages and logs --------------------------------------------------------------------------------------------


@override_settings(ROOT_URLCONF="tests.test_security")
def test_the_page_of_a_program_error_says_nothing_about_anybody(technologist):
    client = Client(raise_request_exception=False)
    client.force_login(technologist)
    page = client.get("/fails/?q=Wintermute")
    assert page.status_code == 500
    body = page.content.decode()
    assert "our fault" in body
    for word in ("Wintermute", MRN, "RuntimeError", "Traceback", "tess"):
        assert word not in body


def test_a_missing_page_does_not_repeat_the_address(sign_in, technologist):
    page = sign_in(technologist).get("/cases/Wintermute-M-7734501/")
    assert page.status_code == 404
    assert "Wintermute" not in page.content.decode()
    assert "Page not found" in page.content.decode()


@pytest.mark.slow
def test_a_journey_leaves_no_patient_in_the_logs(
    sign_in, technologist, pathologist, outsider, caplog, tmp_path, settings
):
    """LEUKOWEB_LOG_LEVEL=DEBUG, through registration, search, edit, refused upload, report and refusal."""
    caplog.set_level(logging.DEBUG)
    for name in set(logging.root.manager.loggerDict) - settings.LOGGING["loggers"].keys():
        caplog.set_level(logging.DEBUG, logger=name)  # and as it was afterwards
    from leukoweb.cases.models import Case

    form = {"mrn": MRN, "name": NAME, "sex": "F", "birth_date": "1961-05-04", "accession_number": "ACC-99-7734",
            "priority": "routine", "stain": "Wright", "received_at": "2026-11-20T10:00",
            "clinical_note": NOTE}  # fmt: skip
    client = sign_in(technologist)
    client.post(reverse("case_register"), {**form, "birth_date": "not a day"})
    client.post(reverse("case_register"), form)
    case = Case.objects.get(accession_number="ACC-99-7734")
    client.post(reverse("case_register"), form)
    client.post(reverse("case_list"), {"search": NAME})
    client.get(reverse("case_list"))
    client.post(reverse("patient_lookup"), {"mrn": MRN})
    client.get(reverse("case_detail", args=[case.pk]))
    client.post(reverse("case_edit", args=[case.pk]), {**form, "name": NAME + "-Orr"})
    bad = tmp_path / f"{NAME}.png"
    bad.write_bytes(b"no picture")
    with bad.open("rb") as file:
        client.post(reverse("slide_upload", args=[case.pk]), {"images": file})
    sign_in(pathologist).get(reverse("case_sign", args=[case.pk]))
    sign_in(pathologist).post(
        reverse("case_sign", args=[case.pk]), {"password": "wrong", "comment": NOTE, "act": "sign"}
    )
    sign_in(outsider).get(reverse("case_detail", args=[case.pk]))
    sign_in(outsider).post(reverse("case_list"), {"search": NAME})
    said = caplog.text + " ".join(str(vars(record)) for record in caplog.records)
    guilty = [r.name + " " + str(vars(r))[:900] for r in caplog.records if "Wintermute" in str(vars(r))]
    assert not guilty, guilty[:3]
    assert "django" in said
    for private in ("Wintermute", MRN, "ACC-99-7734", "rare thing", "1961-05-04", "1961, 5, 4", "4, 1961", PASSWORD):
        assert private not in said


@pytest.fixture
def written():
    """What the product's own log handler writes."""
    [handler] = [one for one in logging.getLogger().handlers if one.get_name() == "console"]
    stream, ours = handler.stream, io.StringIO()
    handler.setStream(ours)
    yield ours.getvalue
    handler.setStream(stream)


@pytest.mark.parametrize("number", ["ACC-99-7734", "ACC 99/7734", "id-99-7734", "find-99-7734"])
def test_no_accession_number_of_an_old_address_is_written_to_a_log(sign_in, outsider, written, number):
    client = sign_in(outsider)
    for below in ("", "slides/", "differential/", "report/", "report.pdf", "report/report.pdf", "nowhere/"):
        assert client.get(f"/api/v1/cases/{quote(number)}/{below}?mrn={MRN}").status_code in (403, 404, 405)
    client.get("/api/v1/cases/id/987654/")
    assert "/api/v1/cases/id/987654/" in written()
    assert "7734" not in written()
    assert MRN not in written()


def test_neither_the_web_server_nor_the_database_repeats_patients_in_a_log(written):
    from django.db import IntegrityError, OperationalError

    from leukoweb.logs import HideNumbers

    record = logging.makeLogRecord(
        {"msg": "Error handling request %s %s", "args": ("GET", f"/worklist/?search={NAME}")}
    )
    assert HideNumbers().filter(record)
    assert record.getMessage() == "Error handling request GET /worklist/?..."
    for error in (
        IntegrityError(f"duplicate key\nDETAIL:  Key (mrn)=({MRN}) already exists."),
        OperationalError("away"),
    ):
        try:
            raise error
        except Exception:
            logging.getLogger("leukoweb").exception("run 7 failed")
    assert MRN not in written()
    assert "IntegrityError: (its values are left out)" in written()
    assert "OperationalError: away" in written()


def test_the_proxy_writes_neither_queries_nor_accession_numbers():
    config = (ROOT / "deploy/nginx.conf").read_text()
    assert "$uri" not in re.search(r"log_format .*", config)[0]
    [pattern] = re.findall(r'"~(\^/api/v1/cases/.*)" "/api/v1/cases/\.\.\."', config)
    for address in ("/api/v1/cases/A-7/", "/api/v1/cases/A 7/8/slides/", "/api/v1/cases/idle/report.pdf"):
        assert re.search(pattern, address), address
    for address in ("/api/v1/cases/", "/api/v1/cases/find/", "/api/v1/cases/id/7/slides/", "/worklist/"):
        assert not re.search(pattern, address), address
    assert "error_log /dev/stderr crit;" in config  # milder lines repeat the whole request


# --- injections ------------------------------------------------------------------------------------------------------


def check(page, text):
    """Whatever was sent: no program error, no new header, nothing of it unescaped in the page."""
    assert page.status_code < 500, text
    assert "owned" not in page.cookies, text
    assert "evil.example" not in page.get("Location", "").split("?")[0], text
    if page.headers.get("Content-Type", "").startswith("text/html") and not page.streaming:
        body = page.content.decode()
        assert "<script>alert" not in body, text
        assert "<img src=x" not in body, text
        assert 'href="javascript:' not in body, text


@pytest.mark.slow
def test_nasty_texts_do_no_harm_in_any_form_of_cases(sign_in, technologist, make_case):
    from leukoweb.audit.models import Event
    from leukoweb.cases.models import Case

    client = sign_in(technologist)
    for n, text in enumerate(NASTY):
        form = {"mrn": f"M-{n}", "name": text, "sex": text, "accession_number": text, "priority": text, "stain": text,
                "clinical_note": text, "birth_date": text, "received_at": text, "wbc": text,
                "wbc_unit": text}  # fmt: skip
        check(client.post(reverse("case_register"), form), text)
        fine = form | {"accession_number": f"N-{n}", "priority": "routine", "sex": "F", "birth_date": "", "wbc": "",
                       "wbc_unit": "", "received_at": "2026-11-20T10:00"}  # fmt: skip
        check(client.post(reverse("case_register"), fine), text)
        case = Case.objects.filter(accession_number=f"N-{n}").first()
        if case:
            check(client.get(reverse("case_detail", args=[case.pk])), text)
        check(client.post(reverse("case_list"), {"search": text}), text)
        check(client.get(reverse("case_list")), text)
        check(client.get(reverse("case_list"), {"sort": text, "state": text, "after": text, "page": text}), text)
        check(client.post(reverse("patient_lookup"), {"mrn": text}), text)
    assert Event.objects.exists()


@pytest.mark.slow
def test_nasty_texts_do_no_harm_in_account_and_audit_pages(sign_in, admin, client, laboratory):
    from leukoweb.audit.services import record

    for n, text in enumerate(NASTY):
        check(Client().post("/sign-in/", {"username": text, "password": text, "next": text}), text)
        page = sign_in(admin)
        check(
            page.get("/manage/users/", {"name": text, "role": text, "laboratory": text, "state": text, "page": text}),
            text,
        )
        new = {"username": text, "first_name": text, "last_name": text, "email": text, "role": text}
        check(page.post("/manage/users/new/", new | {"laboratory": laboratory.pk}), text)
        fine = {"username": f"user{n}", "email": "", "role": "technologist", "laboratory": laboratory.pk}
        check(page.post("/manage/users/new/", new | fine), text)
        check(page.post("/manage/laboratories/new/", {"name": text, "address": text, "is_active": "on"}), text)
        check(page.post("/manage/users/import/", {"text": text, "import": "yes"}), text)
        query = {"actor": text, "action": text, "case": text, "since": text, "until": text, "before": text}
        check(page.get("/manage/audit/", query), text)
        record("policy.change", actor=admin, changes={"text": text.replace("\x00", "")})
    check(page.get("/manage/audit/"), "all")
    check(page.get("/manage/users/"), "all")
    check(page.get("/manage/laboratories/"), "all")


@pytest.mark.slow
@pytest.mark.parametrize("text", NASTY)
def test_nasty_addresses_are_not_found(sign_in, technologist, text):
    from urllib.parse import quote

    client = sign_in(technologist)
    for before in ("/cases/", "/images/1/tiles/", "/static/", "/uploads/", "/api/v1/cases/"):
        page = client.get(before + quote(text, safe="/"))
        check(page, text)
        assert page.status_code in (301, 400, 401, 403, 404), (before, text)


def test_images_come_with_a_fixed_type(sign_in, technologist, make_case, make_slide):
    """A page that calls itself a picture stays harmless: fixed type, nosniff, a policy of its own or the strict one."""
    from leukoweb.cases.store import original_path

    image = make_slide(make_case(), {"NGS": 1}).images.get()
    original = original_path(image.sha256)
    original.parent.mkdir(parents=True, exist_ok=True)
    original.unlink(missing_ok=True)
    original.write_bytes(b"<html><script>alert(1)</script>")
    answer = sign_in(technologist).get(reverse("image_original", args=[image.pk]))
    assert answer["Content-Type"] in ("image/png", "application/octet-stream")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    original.unlink()
