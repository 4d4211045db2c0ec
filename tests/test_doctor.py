"""`leukoweb doctor` and the page System: what is wrong with an installation is said in sentences, with an exit code."""

import json
import logging
import secrets
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.management import call_command

from leukoweb.logs import JsonLine
from leukoweb.ops import doctor
from leukoweb.ops.health import Check
from leukoweb.requests import current_id
from leukoweb.review.criticals.models import Critical, CriticalEntry, CriticalNotice
from tests.services import free_port


def said(*options):
    """Run the command; its exit code and what it printed."""
    out = StringIO()
    try:
        call_command("doctor", *options, stdout=out)
    except SystemExit as end:
        return end.code, out.getvalue()
    return 0, out.getvalue()


@pytest.fixture
def production(settings, tmp_path):
    """The settings of a well installed server."""
    settings.IS_HTTPS, settings.PROXIES, settings.DEBUG = True, 1, False
    settings.ALLOWED_HOSTS = ["smears.example.org", "localhost"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://smears.example.org"]
    settings.SECRET_KEY = secrets.token_urlsafe(40)
    settings.LAST_BACKUP_FILE = tmp_path / "last-backup.json"
    settings.LAST_BACKUP_FILE.write_text(json.dumps({"made_at": datetime.now(UTC).isoformat()}))
    return settings


@pytest.mark.parametrize(
    ("check", "changed", "state", "words"),
    [
        (doctor.debug_check, {"DEBUG": True}, "failed", "error pages show patient data"),
        (doctor.hosts_check, {"ALLOWED_HOSTS": ["*"]}, "failed", "LEUKOWEB_ALLOWED_HOSTS is *"),
        (doctor.hosts_check, {"ALLOWED_HOSTS": ["localhost"]}, "failed", "names this machine only"),
        (doctor.hosts_check, {"CSRF_TRUSTED_ORIGINS": ["http://smears.example.org"]}, "failed", "begin with https://"),
        (doctor.hosts_check, {"CSRF_TRUSTED_ORIGINS": []}, "warning", "forms may be refused"),
        (doctor.tls_check, {"IS_HTTPS": False}, "failed", "cross the network unencrypted"),
        (doctor.secret_key_check, {"SECRET_KEY": "insecure-example"}, "failed", "openssl rand -hex 32"),
        (doctor.backup_check, {"BACKUP_MAX_AGE": timedelta(0)}, "warning", "Find out why none was made since"),
    ],
)
def test_each_setting_that_is_wrong_is_named_with_what_to_do(production, check, changed, state, words):
    assert check().state == "ok"
    for name, value in changed.items():
        setattr(production, name, value)
    found = check()
    assert found.state == state
    assert words in found.words


def test_the_exit_code_says_whether_somebody_must_act(db, production, monkeypatch):
    for states, options, code in (
        (["ok", "ok"], (), 0),
        (["ok", "warning"], (), 0),
        (["ok", "warning"], ("--strict",), 1),
        (["ok", "failed"], (), 1),
    ):
        found = [Check("disk", state, "Words.") for state in states]
        monkeypatch.setattr("leukoweb.ops.management.commands.doctor.examine", lambda found=found: found)
        assert said(*options)[0] == code


@pytest.mark.slow
def test_without_broker_and_worker_it_says_so_and_goes_on(db, production):
    code, text = said()
    assert code == 1
    assert "ACT     broker: The broker does not answer" in text
    assert "ok      TLS:" in text


def test_a_missing_backup_and_an_open_data_folder_are_said(db, production, tmp_path):
    production.LAST_BACKUP_FILE.unlink()
    assert "No backup was ever made here" in doctor.backup_check().words
    production.DATA_DIR = tmp_path
    tmp_path.chmod(0o755)
    assert "chmod o-rwx" in doctor.folder_check().words
    tmp_path.chmod(0o700)
    assert doctor.folder_check().state == "ok"


def test_a_certificate_that_ends_soon_is_a_warning_and_one_that_ended_a_failure(settings, tmp_path):
    settings.MLLP_TLS_CERT = str(tmp_path / "own.crt")
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lis")]), datetime.now(UTC)
    for left, state in ((timedelta(days=90), "ok"), (timedelta(days=9), "warning"), (-timedelta(days=1), "failed")):
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=99), now + left)
        made = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        (tmp_path / "own.crt").write_bytes(made)
        assert [check.state for check in doctor.certificate_checks()] == [state]
    (tmp_path / "own.crt").write_text("no certificate")
    assert [check.state for check in doctor.certificate_checks()] == ["failed"]


def test_a_mail_server_that_does_not_answer_is_a_failure(settings):
    settings.IS_MAIL_ON = False
    assert doctor.mail_check().state == "ok"
    settings.IS_MAIL_ON = True
    assert doctor.mail_check().state == "ok"  # the mail of tests stays in memory
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port()
    assert (doctor.mail_check().state, "notices are not sent" in doctor.mail_check().words) == ("failed", True)


def test_the_system_page_says_how_the_last_mail_went_and_asks_no_server(settings, db, monkeypatch, make_case):
    """Each view of the page opened a connection to the mail server and waited for it."""
    settings.IS_MAIL_ON = True
    monkeypatch.setattr(doctor, "get_connection", None)  # it would be called
    assert "No notice was sent" in doctor.last_mail_check().words
    fact = {"sentence": "Blasts", "codes": [], "first_only_days": 0}
    critical = Critical.objects.create(case=make_case(), key="x", number=1, title="X", fact=fact, policy_version=0)
    entry = CriticalEntry.objects.create(critical=critical, kind="escalated")
    notice = CriticalNotice.objects.create(entry=entry, channel="mail", address="a@b.example", attempts=1)
    assert doctor.last_mail_check().state == "ok"
    notice.sentence = "SMTPConnectError"
    notice.save()
    assert (doctor.last_mail_check().state, "SMTPConnectError" in doctor.last_mail_check().words) == ("failed", True)
    found = {check.name: check.state for check in doctor.installation_checks(asks_others=False)}
    assert found["mail"] == "failed"


def test_clocks_that_differ_are_said(db, production, monkeypatch):
    class Broker:
        def __init__(self, late_s):
            self.late_s = late_s
            self.default_channel = self.client = self

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def time(self):
            return int(datetime.now(UTC).timestamp()) - self.late_s, 0

    for late_s, state in ((0, "ok"), (12, "warning"), (90, "failed")):
        monkeypatch.setattr(doctor, "impatient_broker", lambda late_s=late_s: Broker(late_s))
        assert doctor.clock_check().state == state


def test_the_page_system_shows_installation_and_figures_to_administrators(client, admin):
    client.force_login(admin)
    page = client.get("/health/", headers={"Accept": "text/html"}).content.decode()
    for words in (
        "The broker does not answer",
        "The tables are those of version",
        "Oldest waiting slide",
        "Free on that",
    ):
        assert words in page


def test_a_database_of_another_version_is_said_and_breaks_no_page(client, db, monkeypatch):
    from django.core.cache import cache
    from django.db import ProgrammingError

    def missing():
        raise ProgrammingError("no such column")

    cache.clear()
    monkeypatch.setattr("leukoweb.ops.health.queue_check", missing)
    answer = client.get("/health/")
    assert (answer.status_code, answer.json()["checks"]["database"]["state"]) == (503, "failed")


# --- the id of a request ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["0123456789abcdef" * 2, "12345678-1234-1234-1234-123456789abc"])
def test_a_well_formed_request_id_is_taken_over(client, given):
    assert client.get("/health/live/", headers={"X-Request-ID": given})["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "Wintermute", "K26-1000", "0" * 31, "a" * 32 + "\\nforged", "A" * 32, "x" * 99])
def test_any_other_is_replaced(client, given):
    answered = client.get("/health/live/", headers={"X-Request-ID": given})["X-Request-ID"]
    assert answered != given
    assert len(answered) == 32
    assert current_id.get() == ""


def test_a_line_of_json_holds_the_request_and_hides_what_a_plain_line_hides():
    record = logging.LogRecord("leukoweb.x", logging.ERROR, "x.py", 1, "run %s failed", (7,), None)
    token = current_id.set("ab" * 16)
    try:
        raise RuntimeError("boom")
    except RuntimeError as error:
        record.exc_info = (type(error), error, error.__traceback__)
        line = JsonLine().format(record)
    finally:
        current_id.reset(token)
    seen = json.loads(line)
    assert "\n" not in line
    assert (seen["message"], seen["level"], seen["request_id"]) == ("run 7 failed", "ERROR", "ab" * 16)
    assert "RuntimeError: boom" in seen["traceback"]
    assert datetime.fromisoformat(seen["time"]).tzinfo is not None


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_a_task_logs_with_the_id_of_the_request_that_sent_it(worker, make_case, make_slide):
    from leukoweb.analysis.models import Run
    from leukoweb.analysis.tasks import run_detection
    from tests.services import wait_until

    run = make_slide(make_case(), {"NGS": 1}).runs.get()
    assert run.state == Run.State.DONE  # the task finds nothing to do, and logs that it ended
    worker.start(LEUKOWEB_LOG_FORMAT="json")
    token = current_id.set("cd" * 16)
    try:
        run_detection.delay(run.pk)
    finally:
        current_id.reset(token)
    wait_until(lambda: "cd" * 16 in worker.log(), timeout_s=90, what="a line with the id")
    lines = [json.loads(line) for line in worker.log().splitlines() if "cd" * 16 in line]
    assert any("run_detection" in line["message"] and line["request_id"] == "cd" * 16 for line in lines)
