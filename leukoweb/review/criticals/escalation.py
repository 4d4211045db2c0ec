"""Escalate open critical results that nobody was told, one person after the other, and send the notices of it.

A notice names the laboratory, the result by number and title, and the minutes; never a patient. Mail goes by Django's
settings, the webhook by a request whose body is signed. Nothing here holds a lock while it waits for another system.
"""

import hashlib
import hmac
import json
import logging
import ssl
from datetime import timedelta
from http.client import HTTPException
from smtplib import SMTPException
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils import timezone

from leukoweb.accounts.models import User
from leukoweb.audit.services import record
from leukoweb.cases.models import Case
from leukoweb.outgoing import post
from leukoweb.review.criticals.detection import current_critical_policy, end_rejected
from leukoweb.review.criticals.models import Critical, CriticalEntry, CriticalNotice, CriticalPolicy
from leukoweb.review.reports.parts import sealed_time

log = logging.getLogger(__name__)
SIGNATURE = "X-LeukoWeb-Signature"
WAIT_S = 5
FIRST_WAIT, LONGEST_WAIT, TRIES = timedelta(minutes=1), timedelta(minutes=30), 8
AT_ONCE = 50


def escalate() -> int:
    """Write whom the software tells now: the first person at detection, the next one after each span; return how many.

    A result that somebody was told, or that was closed, goes no further. Demonstration cases alarm nobody.
    """
    end_rejected()
    found = Critical.objects.filter(case__is_demonstration=False).open().with_log().select_related("case__laboratory")
    policies: dict[int, CriticalPolicy | None] = {}
    written = 0
    for critical in found:
        laboratory = critical.case.laboratory_id
        if laboratory not in policies:
            policies[laboratory] = current_critical_policy(laboratory)
        if (policy := policies[laboratory]) and critical.told is None:
            written += _escalate_one(critical, policy)
    return written


def _escalate_one(critical: Critical, policy: CriticalPolicy) -> int:
    """Write the steps that are due; a person whose account was closed is passed over without waiting."""
    active = User.objects.filter(username__in=policy.people, is_active=True, laboratory=policy.laboratory_id)
    people = {user.username: user for user in active}
    listed = [people[name] for name in policy.people if name in people]
    due = min(len(listed), 1 + critical.minutes_to(timezone.now()) // policy.minutes)
    done = len(critical.escalations)
    written = 0
    for step in range(done + 1, due + 1):
        with transaction.atomic():
            Case.objects.select_for_update(no_key=True).get(pk=critical.case_id)
            entry, is_new = CriticalEntry.objects.get_or_create(
                critical=critical, step=step, defaults={"kind": CriticalEntry.Kind.ESCALATED, "to": listed[step - 1]}
            )
            if is_new:
                written += 1
                _queue(entry, policy)
                record("critical.escalate", obj=critical, case=critical.case,
                       changes={"step": step, "to": listed[step - 1].username})  # fmt: skip
    return written


def _queue(entry: CriticalEntry, policy: CriticalPolicy) -> None:
    channels = CriticalNotice.Channel
    if entry.to and entry.to.email and settings.IS_MAIL_ON:
        CriticalNotice.objects.create(entry=entry, channel=channels.MAIL, address=entry.to.email)
    if policy.webhook and settings.WEBHOOK_SECRET:
        CriticalNotice.objects.create(entry=entry, channel=channels.WEBHOOK, address=policy.webhook)


def send_notices() -> int:
    """Send what is due, oldest first; return how many were taken. What fails is tried again, later each time."""
    now, queued = timezone.now(), CriticalNotice.objects.filter(state=CriticalNotice.State.QUEUED)
    sent = 0
    for pk in list(queued.filter(next_try_at__lte=now).values_list("pk", flat=True)[:AT_ONCE]):
        # The claim keeps a second worker away for as long as an answer may take; it is no lock.
        if not queued.filter(pk=pk, next_try_at__lte=now).update(next_try_at=now + FIRST_WAIT):
            continue
        notice = CriticalNotice.objects.select_related("entry__critical__case__laboratory").get(pk=pk)
        try:
            sentence = _send(notice)
        except (OSError, SMTPException, HTTPException, ValueError) as error:
            sentence = type(error).__name__
        if sentence:
            _put_off(notice, sentence)
            continue
        notice.state, notice.attempts, notice.done_at, notice.sentence = "sent", notice.attempts + 1, timezone.now(), ""
        notice.save()
        sent += 1
    return sent


def _put_off(notice: CriticalNotice, sentence: str) -> None:
    notice.attempts += 1
    notice.sentence = sentence[:300]
    notice.next_try_at = timezone.now() + min(FIRST_WAIT * 2 ** (notice.attempts - 1), LONGEST_WAIT)
    if notice.attempts >= TRIES:
        notice.state, notice.done_at = CriticalNotice.State.DEAD, timezone.now()
        log.error("notice %s of a critical result was not delivered: %s", notice.pk, sentence)
    notice.save()


def body_of(notice: CriticalNotice) -> dict[str, Any]:
    """Return what a notice says: no name, number or date of a patient."""
    critical = notice.entry.critical
    return {
        "event": "critical.escalated",
        "critical": critical.pk,
        "title": critical.title,
        "laboratory": critical.case.laboratory.name,
        "step": notice.entry.step,
        "detected_at": sealed_time(critical.detected_at),
        "minutes": critical.minutes_to(notice.entry.at),
    }


def _send(notice: CriticalNotice) -> str:
    """Send a notice; say why it was not taken, or "" where it was."""
    said = body_of(notice)
    if notice.channel == CriticalNotice.Channel.MAIL:
        send_mail(
            f"{said['laboratory']}: critical result {said['critical']} waits",
            f"Critical result {said['critical']} ({said['title']}) of {said['laboratory']} was detected "
            f"{said['minutes']} minutes ago, and no call to the requester is recorded.\n\n"
            "Open the page “Critical results” of LeukoWeb.\n",
            settings.DEFAULT_FROM_EMAIL,
            [notice.address],
        )
        return ""
    to = urlsplit(notice.address)
    if to.scheme not in ("http", "https") or not to.hostname:
        raise ValueError("no address of a web server")
    body = json.dumps(said, sort_keys=True).encode()
    headers = {"Content-Type": "application/json", SIGNATURE: signature_of(body)}
    status, _ = post(
        to.hostname,
        to.port,
        urlunsplit(("", "", to.path or "/", to.query, "")),
        body,
        headers=headers,
        tls=ssl.create_default_context() if to.scheme == "https" else None,
        patience_s=WAIT_S,
        most_bytes=0,
    )
    return "" if status < 300 else f"HTTP {status}"  # a redirect too: it goes to the address that was written


def signature_of(body: bytes) -> str:
    """Return the signature of a body: HMAC with SHA-256 under the secret of this installation."""
    return "sha256=" + hmac.new(settings.WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
