"""Turn signatures and rejections into result messages, and send them until they are acknowledged.

The audit trail is the outbox: its event is written in the transaction of the signature, so that a result is owed
exactly when the report is signed, whatever dies in between. Every interface remembers the last event that it has turned
into a message; message and memory are written in one transaction.
"""

import hashlib
import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from leukoweb.accounts.models import User
from leukoweb.audit.models import Event
from leukoweb.audit.services import record
from leukoweb.cases.models import Case
from leukoweb.delivery.fhir_out import bundle_message, post, refusal_of
from leukoweb.delivery.hl7 import MessageRefused, read_answer
from leukoweb.delivery.mllp import deliver
from leukoweb.delivery.models import Interface, Message
from leukoweb.delivery.network import NotDelivered
from leukoweb.delivery.results import rejection_message, result_message, withdrawal_message
from leukoweb.given import is_storable
from leukoweb.refusals import Refused
from leukoweb.review.models import Report, Withdrawal
from leukoweb.review.reports.page import page_of
from leukoweb.review.reports.printing import pdf_of

log = logging.getLogger(__name__)
SIGNED, REJECTED, WITHDRAWN = OWED = ("report.sign", "case.reject", "report.withdraw")
FIRST_WAIT, LONGEST_WAIT, GIVEN_UP_AFTER = timedelta(minutes=1), timedelta(hours=1), timedelta(hours=24)
AT_ONCE = 200  # events and messages of one round; the next round follows


def collect(interface: Interface) -> int:
    """Write the result messages that are owed since the last round; return how many."""
    with transaction.atomic():
        interface = Interface.objects.select_for_update(no_key=True).get(pk=interface.pk)
        events = list(
            Event.objects.filter(
                pk__gt=interface.last_event,
                laboratory_id=interface.laboratory_id,
                action__in=OWED,
            ).order_by("pk")[:AT_ONCE]
        )
        messages = [message for event in events if (message := _message_of(interface, event))]
        Message.objects.bulk_create(messages)
        if events:
            interface.last_event = events[-1].pk
            interface.save(update_fields=["last_event"])
    return len(messages)


def _message_of(interface: Interface, event: Event) -> Message | None:
    """Write the message of an event; None for a demonstration, which is nobody's result."""
    if Case.objects.filter(pk=event.case_id, is_demonstration=True).exists():
        return None
    now = timezone.localtime()
    if interface.direction == Interface.Direction.FHIR_OUT:
        return _bundle_of(interface, event, now)
    given = {"zone_time": now, "authority": interface.authority}
    if event.action == SIGNED:
        report = Report.objects.select_related("case__laboratory", "case__patient").get(pk=event.object_id)
        case, control_id = report.case, report.seal[:20]
        pdf = _pdf(report, interface.site) if interface.embeds_pdf else None
        address = _address(report, interface.site) if interface.site else ""
        raw = result_message(report, control_id=control_id, address=address, pdf=pdf, **given)
    elif event.action == WITHDRAWN:
        withdrawal = Withdrawal.objects.select_related("report__case__laboratory").get(report=event.object_id)
        report, case, control_id = withdrawal.report, withdrawal.report.case, f"W{event.pk}"
        raw = withdrawal_message(withdrawal, control_id=control_id, **given)
    else:
        report, case = None, Case.objects.select_related("laboratory", "patient").get(pk=event.case_id)
        control_id = f"X{event.pk}"
        raw = rejection_message(case, control_id=control_id, **given)
    return _owed(interface, raw, now, control_id=control_id, kind="ORU^R01", case=case, report=report)


def _bundle_of(interface: Interface, event: Event, now: datetime) -> Message:
    """Write the FHIR transaction of an event: the same control ids as by HL7, for a person who compares them."""
    case = Case.objects.with_state().select_related("patient").get(pk=event.case_id)
    report = None if event.action == REJECTED else Report.objects.get(pk=event.object_id)
    pdf = _pdf(report, interface.site) if report and interface.embeds_pdf and event.action == SIGNED else None
    raw = bundle_message(case, report, interface=interface, pdf=pdf)
    control_id = report.seal[:20] if report and event.action == SIGNED else f"{event.action[7:8].upper()}{event.pk}"
    return _owed(interface, raw, now, control_id=control_id, kind="FHIR Bundle", case=case, report=report)


def _owed(interface: Interface, raw: bytes, now: datetime, **facts: Any) -> Message:
    return Message(
        interface=interface, is_incoming=False, raw=raw,
        sha256=hashlib.sha256(raw).hexdigest(), state=Message.State.QUEUED, next_try_at=now,
        given_up_at=now + GIVEN_UP_AFTER, **facts,
    )  # fmt: skip


def _address(report: Report, site: str) -> str:
    """Return the address of a report's page as others reach it."""
    return f"{site.rstrip('/')}/reports/{report.pk}/"


def _pdf(report: Report, site: str) -> bytes | None:
    """The report on paper; None where this server cannot make it: the figures are owed all the same."""
    try:
        return pdf_of({**page_of(report, report.content), "address": _address(report, site)})
    except Refused as reason:
        log.error("report %s is sent without its PDF: %s", report.pk, reason)
        return None


def send_due(interface: Interface) -> int:
    """Send what is due, oldest first, one at a time; return how many were acknowledged.

    A later message of a case waits for the earlier ones of the same case. A peer that cannot be reached ends the round.
    """
    sent, waiting = 0, Message.objects.filter(interface=interface, state=Message.State.QUEUED)
    earlier = waiting.filter(case=OuterRef("case"), pk__lt=OuterRef("pk"))
    due = waiting.filter(Q(next_try_at=None) | Q(next_try_at__lte=timezone.now()))
    for pk in list(due.exclude(Exists(earlier)).order_by("pk").values_list("pk", flat=True)[:AT_ONCE]):
        # The claim keeps a second worker away for as long as an answer may take; it is no lock.
        claimed = waiting.filter(pk=pk, next_try_at__lte=timezone.now()).update(next_try_at=timezone.now() + FIRST_WAIT)
        if not claimed:
            continue
        message = Message.objects.get(pk=pk)
        try:
            send = deliver if interface.is_hl7 else post
            answer = send(interface, bytes(message.raw))
        except NotDelivered as reason:
            _put_off(message, str(reason))
            return sent
        sent += _settle(interface, message, answer)
    return sent


def _settle(interface: Interface, message: Message, answer: bytes) -> bool:
    """Store the answer; True where the receiver accepted the message."""
    message.answer = answer
    sentence = _refusal_of(message, answer, interface.charset) if interface.is_hl7 else refusal_of(answer)
    if sentence:
        _put_off(message, sentence)
        return False
    message.state, message.sentence, message.done_at = Message.State.ACKNOWLEDGED, "", timezone.now()
    message.attempts += 1
    message.save()
    return True


def _refusal_of(message: Message, answer: bytes, charset: str) -> str:
    """Say why an answer is no acknowledgement of this HL7 message; "" where it is."""
    try:
        parsed = read_answer(answer, charset=charset)
    except MessageRefused:
        return "The answer is no acknowledgement."
    code, answered = parsed.first("MSA").get(1), parsed.first("MSA").get(2)
    if not code:
        return "The answer is no acknowledgement."
    if answered != message.control_id:
        return "The acknowledgement is of another message."
    if code in ("AA", "CA"):
        return ""
    detail = parsed.first("ERR").get(8) or parsed.first("ERR").get(7) or parsed.first("MSA").get(3)
    return f"The receiver refused the message ({code}). {detail}".strip()


def _put_off(message: Message, sentence: str) -> None:
    """Try again after 1, 2, 4 ... 60 minutes; give up a day after the message was written."""
    now: datetime = timezone.now()
    message.attempts += 1
    message.sentence = "".join(filter(is_storable, sentence))  # the words may be the receiver's
    message.next_try_at = now + min(FIRST_WAIT * 2 ** min(message.attempts - 1, 10), LONGEST_WAIT)
    if message.given_up_at and now > message.given_up_at:
        message.state, message.done_at = Message.State.DEAD, now
        log.error("message %s of interface %s was not delivered within a day", message.pk, message.interface_id)
    message.save()


def send_again(message: Message, *, by: User) -> None:
    """Queue a message again that was given up or waits for its next try."""
    with transaction.atomic():
        owed = Message.objects.filter(pk=message.pk, state__in=[Message.State.DEAD, Message.State.QUEUED])
        now = timezone.now()
        if owed.update(state=Message.State.QUEUED, next_try_at=now, given_up_at=now + GIVEN_UP_AFTER, done_at=None):
            record("message.send_again", actor=by, obj=message, case=message.case)


def undelivered(laboratory_id: int | None = None) -> int:
    """Return how many results of signed, withdrawn or rejected cases were not acknowledged after their first try."""
    return undelivered_messages(laboratory_id).count()


def undelivered_messages(laboratory_id: int | None = None) -> QuerySet[Message]:
    """Return those results, of one laboratory or of all."""
    owed = Message.objects.filter(is_incoming=False, state__in=[Message.State.QUEUED, Message.State.DEAD])
    if laboratory_id is not None:
        owed = owed.filter(interface__laboratory_id=laboratory_id)
    return owed.filter(Q(attempts__gt=0) | Q(state=Message.State.DEAD))
