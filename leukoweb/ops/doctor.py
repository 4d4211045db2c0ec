"""What is wrong with an installation, and what to do: settings, keys, clocks, certificates and backups.

health.py looks at what changes from minute to minute; this is for the person who installs or upgrades, and costs more.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from smtplib import SMTPException
from urllib.parse import urlsplit

from cryptography import x509
from django.conf import settings
from django.core import checks
from django.core.mail import get_connection
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from leukoweb.analysis.services import BROKER_AWAY, impatient_broker
from leukoweb.ops.figures import last_backup
from leukoweb.ops.health import Check, database_check, look
from leukoweb.review.criticals.models import CriticalNotice

CLOCK_WARNING_S, CLOCK_LIMIT_S = 2, 30  # a code of the second factor is valid for one step of 30 s more
CERTIFICATE_WARNING = timedelta(days=30)
LEAST_KEY_LETTERS = 32
OWN_NAMES = {"localhost", "127.0.0.1", "[::1]"}


def examine() -> list[Check]:
    """Look at everything: what the health page shows, then the installation."""
    return [*look(), *installation_checks(asks_others=True)]


def installation_checks(*, asks_others: bool) -> list[Check]:
    """Return what is said of the installation itself; without a database only what needs none.

    `asks_others` opens a connection to the mail server: a page that is only looked at does not.
    """
    has_database = database_check().state == "ok"
    found = [*database_checks()] if has_database else []
    found += [
        secret_key_check(),
        debug_check(),
        hosts_check(),
        tls_check(),
        folder_check(),
        backup_check(),
    ]
    if asks_others or not settings.IS_MAIL_ON:
        found.append(mail_check())
    elif has_database:
        found.append(last_mail_check())
    return found + [*certificate_checks()] + [*deployment_checks()]


def database_checks() -> Iterator[Check]:
    """Compare the tables with this version of the product, and the clocks with each other."""
    executor = MigrationExecutor(connection)
    known = set(executor.loader.disk_migrations)
    ours = {app for app, _name in known}
    foreign = {name for name in executor.loader.applied_migrations if name[0] in ours} - known
    if foreign := foreign - _replaced(executor):
        app, name = min(foreign)
        yield Check("migrations", "failed", _(
            "The database is of a newer version (%(name)s): install that version, or restore the backup of this one."
        ) % {"name": f"{app}.{name}"})  # fmt: skip
    elif plan := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        yield Check("migrations", "failed", ngettext(
            "%(count)d migration is not applied: stop web and workers, then run leukoweb upgrade.",
            "%(count)d migrations are not applied: stop web and workers, then run leukoweb upgrade.",
            len(plan),
        ) % {"count": len(plan)})  # fmt: skip
    else:
        yield Check("migrations", "ok", _("The tables are those of version %s.") % settings.VERSION)
    yield clock_check()


def _replaced(executor: MigrationExecutor) -> set[tuple[str, str]]:
    return {name for migration in executor.loader.disk_migrations.values() for name in migration.replaces}


def clock_check() -> Check:
    """Compare this machine's clock with those of database and broker."""
    apart = {}
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            apart[_("the database")] = abs((cursor.fetchone()[0] - datetime.now(UTC)).total_seconds())
    try:
        with impatient_broker() as broker:
            seconds, micros = broker.default_channel.client.time()
            apart[_("the broker")] = abs(seconds + micros / 1e6 - time.time())
    except BROKER_AWAY:
        pass  # said by broker_check
    if not apart:
        return Check("clock", "ok", _("There is no other clock to compare with."))
    where, skew_s = max(apart.items(), key=lambda one: one[1])
    words = _("The clock of this machine and that of %(where)s differ by %(skew).1f seconds.") % {
        "where": where, "skew": skew_s,
    }  # fmt: skip
    if skew_s <= CLOCK_WARNING_S:
        return Check("clock", "ok", words)
    more = _("Set up time synchronisation (NTP): second factors and the times of the audit depend on it.")
    return Check("clock", "failed" if skew_s > CLOCK_LIMIT_S else "warning", f"{words} {more}")


def secret_key_check() -> Check:
    """Look where the secret key comes from, and who else may read it."""
    key, kept = settings.SECRET_KEY, settings.DATA_DIR / "secret_key"
    if len(key) < LEAST_KEY_LETTERS or "insecure" in key:
        return Check("secret key", "failed", _(
            "The secret key is an example or too short: set LEUKOWEB_SECRET_KEY to the output of openssl rand -hex 32."
        ))  # fmt: skip
    if not kept.exists() or kept.read_text().strip() != key:
        return Check("secret key", "ok", _("It comes from LEUKOWEB_SECRET_KEY: keep it with the backups."))
    if kept.stat().st_mode & 0o077:
        return Check("secret key", "failed", _(
            "Other users of this machine can read %s: run chmod 600 on it, then change the key."
        ) % kept)  # fmt: skip
    return Check("secret key", "ok", _("It is kept in the data folder, and backups hold it."))


def debug_check() -> Check:
    """Look whether errors show their values on the page."""
    if settings.DEBUG:
        return Check("debug", "failed", _("LEUKOWEB_DEBUG is on: error pages show patient data. Set it to false."))
    return Check("debug", "ok", _("Error pages show no values."))


def hosts_check() -> Check:
    """Look under which names and origins the product answers."""
    hosts, origins = set(settings.ALLOWED_HOSTS), list(settings.CSRF_TRUSTED_ORIGINS)
    if "*" in hosts:
        return Check("addresses", "failed", _(
            "LEUKOWEB_ALLOWED_HOSTS is *: forged links would be sent out. Name the addresses that browsers use."
        ))  # fmt: skip
    if settings.IS_HTTPS and not hosts - OWN_NAMES:
        return Check("addresses", "failed", _(
            "LEUKOWEB_ALLOWED_HOSTS names this machine only: browsers elsewhere are refused. Add the product's name."
        ))  # fmt: skip
    if settings.IS_HTTPS and any(urlsplit(origin).scheme != "https" for origin in origins):
        return Check("addresses", "failed", _("LEUKOWEB_TRUSTED_ORIGINS must begin with https://, as browsers see it."))
    if settings.PROXIES and not origins:
        return Check("addresses", "warning", _(
            "LEUKOWEB_TRUSTED_ORIGINS is empty behind a proxy: forms may be refused. Name the https:// address."
        ))  # fmt: skip
    return Check("addresses", "ok", _("The product answers as %s.") % ", ".join(sorted(hosts)))


def tls_check() -> Check:
    """Look whether names and passwords cross the network encrypted."""
    if settings.IS_HTTPS:
        return Check("TLS", "ok", _("Browsers are sent to https, and cookies go nowhere else."))
    if set(settings.ALLOWED_HOSTS) - OWN_NAMES:
        return Check("TLS", "failed", _(
            "Without LEUKOWEB_HTTPS passwords and patients' names cross the network unencrypted: put a proxy with a "
            "certificate in front, as deploy/nginx.conf does, and set LEUKOWEB_HTTPS to true."
        ))  # fmt: skip
    return Check("TLS", "ok", _("Only browsers on this machine are answered: no certificate is needed."))


def mail_check() -> Check:
    """Ask the mail server for a connection, where one is set."""
    if not settings.IS_MAIL_ON:
        return Check("mail", "ok", _("No mail is sent: LEUKOWEB_EMAIL_URL is empty."))
    try:
        mail = get_connection()
        mail.open()
        mail.close()
    except (OSError, SMTPException) as error:
        return Check("mail", "failed", _(
            "The mail server does not answer (%s): notices are not sent. Look at LEUKOWEB_EMAIL_URL."
        ) % type(error).__name__)  # fmt: skip
    return Check("mail", "ok", _("The mail server answers."))


def last_mail_check() -> Check:
    """Say how the last notice by mail went, without asking the server."""
    last = CriticalNotice.objects.filter(channel=CriticalNotice.Channel.MAIL, attempts__gt=0).order_by("-pk").first()
    if last is None:
        return Check("mail", "ok", _("No notice was sent by mail yet: leukoweb doctor asks the mail server."))
    if last.sentence:
        return Check("mail", "failed", _(
            "The mail server did not take the last notice (%s): look at LEUKOWEB_EMAIL_URL, then run leukoweb doctor."
        ) % last.sentence)  # fmt: skip
    return Check("mail", "ok", _("The mail server took the last notice."))


def certificate_checks() -> Iterator[Check]:
    """Look at the certificate of the interfaces, where there is one."""
    if not settings.MLLP_TLS_CERT:
        return
    try:
        certificate = x509.load_pem_x509_certificate(Path(settings.MLLP_TLS_CERT).read_bytes())
    except (OSError, ValueError) as error:
        yield Check("certificate", "failed", _(
            "LEUKOWEB_MLLP_TLS_CERT cannot be read (%s): interfaces with TLS do not connect."
        ) % type(error).__name__)  # fmt: skip
        return
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    words = _("The certificate of the interfaces is valid until %s.") % f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    state = "failed" if left < timedelta() else "warning" if left < CERTIFICATE_WARNING else "ok"
    yield Check("certificate", state, words if state == "ok" else words + " " + _("Renew it."))


def folder_check() -> Check:
    """Look whether the data folder can be written, and by nobody else."""
    folder, probe = settings.DATA_DIR, settings.FILE_UPLOAD_TEMP_DIR / "run-doctor"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return Check("data folder", "failed", _("%(folder)s cannot be written (%(why)s): uploads fail.") % {
            "folder": folder, "why": error.strerror,
        })  # fmt: skip
    if folder.stat().st_mode & 0o007:
        return Check("data folder", "warning", _(
            "Every user of this machine can look into %s, where images and names are: run chmod o-rwx on it."
        ) % folder)  # fmt: skip
    return Check("data folder", "ok", _("%s can be written.") % folder)


def backup_check() -> Check:
    """Say how old the last backup is."""
    made_at = last_backup()
    if made_at is None:
        return Check("backup", "warning", _("No backup was ever made here: run leukoweb backup FOLDER every day."))
    age = timezone.now() - made_at
    words = _("The last backup is %d hours old.") % (age.total_seconds() // 3600)
    if age > settings.BACKUP_MAX_AGE:
        return Check("backup", "warning", words + " " + _("Find out why none was made since: leukoweb backup FOLDER."))
    return Check("backup", "ok", words)


def deployment_checks() -> Iterator[Check]:
    """Pass on what Django's own deployment check complains of, where browsers come by https."""
    if not settings.IS_HTTPS:
        return
    found = [m for m in checks.run_checks(include_deployment_checks=True) if m.level >= checks.WARNING]
    for message in found:
        if not message.is_silenced():
            state = "failed" if message.is_serious() else "warning"
            yield Check(f"Django {message.id}", state, str(message.msg))
