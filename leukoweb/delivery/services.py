"""Receive orders and settle what is held; one transaction applies a message, its answer and its audit event together.

It leaves reading to `hl7` and `orders`, sending to `outbox`, and sockets to `mllp`.
"""

import hashlib
from datetime import datetime
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from leukoweb.accounts.models import User
from leukoweb.accounts.roles import TECHNOLOGIST
from leukoweb.audit.models import Event
from leukoweb.audit.services import record
from leukoweb.cases.models import Case, Patient, Slide
from leukoweb.cases.services import edit_case, register_case, reject_case
from leukoweb.delivery.hl7 import VERSIONS, Hl7, MessageRefused, acknowledgement, read
from leukoweb.delivery.models import Interface, Message, new_control_id
from leukoweb.delivery.orders import (
    CANCEL,
    NEW,
    ORDER_MESSAGES,
    OrderGiven,
    PersonGiven,
    read_orders,
    read_person,
)
from leukoweb.refusals import Refused

CANCELLED = "Order cancelled by the requester."
_STATE = Message.State


class Held(Exception):
    """Say in one sentence why a person must decide before a message takes effect."""


def save_interface(interface: Interface, *, by: User) -> Interface:
    """Store an interface with an account of its own, in whose name its orders are registered."""
    with transaction.atomic():
        is_new = interface.pk is None
        if is_new:
            username = f"interface-{new_control_id()[:8]}"
            account = User(username=username, first_name=interface.name[:150], role=TECHNOLOGIST)
            account.laboratory = interface.laboratory
            account.set_unusable_password()
            account.save()
            interface.acts_as = account
            # What was signed before the interface was there is not owed to it.
            interface.last_event = Event.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        interface.save()
        shown = ("name", "direction", "is_active", "host", "port", "use_tls", "charset", "accession_from", "codes")
        record("interface.save", actor=by, obj=interface, laboratory=interface.laboratory,
               changes={name: getattr(interface, name) for name in shown})  # fmt: skip
    return interface


def receive(interface: Interface, raw: bytes, *, peer: str = "") -> bytes:
    """Take one message and return its acknowledgement.

    The bytes are stored before they are read. The message, what it changes, its answer and the audit event are then
    written in one transaction, so a peer that got no answer may send it again: the same id with the same bytes gets the
    same answer and changes nothing, the same id with other bytes is refused.
    """
    message = Message.objects.create(
        interface=interface, is_incoming=True, raw=raw, sha256=hashlib.sha256(raw).hexdigest(),
        state=_STATE.RECEIVED, peer=peer[:100],
    )  # fmt: skip
    with transaction.atomic():
        # One message of an interface at a time: the order in which they came is the order in which they take effect.
        interface = Interface.objects.select_for_update(no_key=True).select_related("laboratory").get(pk=interface.pk)
        return _apply_received(interface, message)


def _apply_received(interface: Interface, message: Message) -> bytes:
    parsed, refused = None, None
    try:
        parsed = read(bytes(message.raw), charset=interface.charset)
        message.control_id, message.kind = parsed.control_id[:200], parsed.kind[:20]
        _check_header(parsed)
        if earlier := _earlier(message):
            return _answer_again(message, earlier, parsed)
        with transaction.atomic():
            message.case = _act(interface, parsed)
        message.state = _STATE.APPLIED
    except Held as reason:
        message.state, message.sentence = _STATE.HELD, str(reason)
    except MessageRefused as reason:
        refused, message.state, message.sentence = reason, _STATE.REFUSED, reason.sentence
    message.answer = acknowledgement(parsed, at=timezone.localtime(), control_id=new_control_id(), refused=refused)
    message.done_at = None if message.state == _STATE.HELD else timezone.now()
    message.save()
    record("message.receive", actor=interface.acts_as, obj=message, case=message.case, laboratory=interface.laboratory,
           changes={"state": message.state, "kind": message.kind, "sha256": message.sha256})  # fmt: skip
    return bytes(message.answer)


def _check_header(parsed: Hl7) -> None:
    header = parsed.header
    if not parsed.control_id:
        raise MessageRefused("MSH-10 has no control id.", code="101", location="MSH-10")
    if header.get(12) not in VERSIONS:
        sentence = f"This version of HL7 is not supported: use {VERSIONS[0]} to {VERSIONS[-1]}."
        raise MessageRefused(sentence, code="203", location="MSH-12", ack="AR")
    if header.get(11) != "P":
        raise MessageRefused(
            "Only messages of production (MSH-11 = P) are taken.", code="202", location="MSH-11", ack="AR"
        )


def _earlier(message: Message) -> Message | None:
    """The first message of this interface with the same control id that was answered."""
    same = Message.objects.filter(
        interface=message.interface_id, is_incoming=True, control_id=message.control_id, pk__lt=message.pk
    )
    return same.exclude(state=_STATE.RECEIVED).order_by("pk").first()


def _answer_again(message: Message, earlier: Message, parsed: Hl7) -> bytes:
    if earlier.sha256 == message.sha256:
        message.state, message.answer, message.case = _STATE.REPEATED, bytes(earlier.answer), earlier.case
        message.done_at = timezone.now()
        message.save()
        return bytes(message.answer)
    raise MessageRefused("This control id was used before for another message.", code="205", location="MSH-10")


def _act(interface: Interface, parsed: Hl7) -> Case | None:
    """Do what a message asks for and return the case that it concerns."""
    zone = timezone.get_default_timezone()
    assert isinstance(zone, ZoneInfo)
    given = {"authority": interface.authority, "zone": zone}
    if parsed.kind in ORDER_MESSAGES:
        cases = [_apply_order(interface, order) for order in read_orders(parsed, **given)]
        return cases[0] if len(cases) == 1 else None
    if parsed.kind == "ADT^A08":
        _correct_person(interface, read_person(parsed, **given))
        return None
    if parsed.kind == "ADT^A40":
        _merge(interface, parsed, read_person(parsed, **given))
        return None
    types = {kind.split("^")[0] for kind in ORDER_MESSAGES} | {"ADT"}
    if parsed.header.get(9) in types:
        raise MessageRefused("This event is not supported.", code="201", location="MSH-9", ack="AR")
    raise MessageRefused("This message type is not supported.", code="200", location="MSH-9", ack="AR")


def _apply_order(interface: Interface, order: OrderGiven) -> Case | None:
    meaning = interface.codes.get(order.code)
    if meaning == "ignore":
        return None
    case = _case_of(interface, order)
    if order.control == CANCEL:
        return _cancel(interface, case)
    if meaning != "film":
        raise Held(f"The order code {order.code} is not mapped: say on the interface's page whether it is a film.")
    if case is None:
        if order.control != NEW:
            raise Held("The order to be changed is not known here.")
        return _register(interface, order)
    if order.control == NEW:
        raise Held(f"The accession number {case.accession_number} is registered already.")
    return _change(interface, case, order)


def _case_of(interface: Interface, order: OrderGiven) -> Case | None:
    cases = Case.objects.filter(laboratory=interface.laboratory)
    if order.placer_number and (found := cases.filter(placer_number=order.placer_number).first()):
        return found
    return cases.filter(accession_number=_accession(interface, order)).first()


def _accession(interface: Interface, order: OrderGiven) -> str:
    chosen = {
        Interface.Accession.FILLER: order.filler_number or order.placer_number,
        Interface.Accession.PLACER: order.placer_number,
        Interface.Accession.SPECIMEN: order.specimen_number,
    }[Interface.Accession(interface.accession_from)]
    if not chosen:
        raise MessageRefused("The order has no number to be used as accession number.", code="101", location="OBR-3")
    return chosen


def _fields_of(order: OrderGiven) -> dict:
    now: datetime = timezone.now()
    return {
        "priority": Case.Priority.STAT if order.is_stat else Case.Priority.ROUTINE,
        "collected_at": order.collected_at,
        "clinical_note": order.note,
        "placer_number": order.placer_number,
        "filler_number": order.filler_number,
        "requester": order.requester,
        "ward": order.ward,
        "copy_to": order.copy_to,
        "specimen_type": order.specimen_type,
        "collector": order.collector,
        "ordered_at": order.ordered_at or now,
    }


def _given(person: PersonGiven) -> dict:
    """What the message says of the patient; an unknown sex says nothing."""
    fields = {"name": person.name, "sex": person.sex if person.sex != "U" else "", "birth_date": person.birth_date}
    return {name: value for name, value in fields.items() if value}


def _register(interface: Interface, order: OrderGiven) -> Case:
    fields = {"accession_number": _accession(interface, order), "received_at": timezone.now(), **_fields_of(order)}
    _check_texts(fields, order.person)
    try:
        return register_case(by=interface.acts_as, mrn=order.person.mrn, patient=_given(order.person), case=fields)
    except Refused as reason:
        raise Held(str(reason)) from reason


def _change(interface: Interface, case: Case, order: OrderGiven) -> Case:
    _refuse_begun(case, "changed")
    fields = _fields_of(order)
    _check_texts(fields, order.person)
    if order.person.mrn != case.patient.mrn or _differences(case.patient, order.person):
        raise Held("The changed order names another patient than the case.")
    try:
        return edit_case(case, by=interface.acts_as, mrn=case.patient.mrn, patient={}, fields=fields)
    except Refused as reason:
        raise Held(str(reason)) from reason


def _cancel(interface: Interface, case: Case | None) -> Case:
    if case is None:
        raise Held("The order to be cancelled is not known here.")
    _refuse_begun(case, "cancelled")
    try:
        reject_case(case, by=interface.acts_as, reason=CANCELLED)
    except Refused as reason:
        raise Held(str(reason)) from reason
    return case


def _refuse_begun(case: Case, done: str) -> None:
    """Hold what would change a case that somebody works on or has signed."""
    if Slide.objects.filter(case=case).exists():
        raise Held(f"The order was {done} by the requester after slides of the case were uploaded.")


def _check_texts(fields: dict, person: PersonGiven) -> None:
    """Refuse values that the database or a page cannot hold, with the field's own sentence."""
    for model, values in ((Case, fields), (Patient, {"mrn": person.mrn, "name": person.name})):
        for name, value in values.items():
            try:
                model._meta.get_field(name).clean(value, None)
            except ValidationError as error:
                raise Held(f"{name.replace('_', ' ').capitalize()}: {' '.join(error.messages)}") from error


def _correct_person(interface: Interface, person: PersonGiven) -> None:
    """Apply ADT^A08. Before: no case of the patient has slides or a report; else a person decides."""
    patient = Patient.objects.filter(laboratory=interface.laboratory, mrn=person.mrn).first()
    if patient is None:
        return  # nobody here has this number
    _check_texts({}, person)
    case = Case.objects.filter(patient=patient).order_by("-pk").first()
    changed = _differences(patient, person)
    if not changed:
        return
    if case is None or Slide.objects.filter(case__patient=patient).exists():
        raise Held(f"The patient's {', '.join(changed).replace('_', ' ')} differs, and a case has slides.")
    try:
        edit_case(case, by=interface.acts_as, mrn=patient.mrn, patient=_given(person), fields={})
    except Refused as reason:
        raise Held(str(reason)) from reason


def _differences(patient: Patient, person: PersonGiven) -> list[str]:
    """Return the fields in which a message contradicts what is registered."""
    return sorted(name for name, value in _given(person).items() if getattr(patient, name) != value)


def _merge(interface: Interface, parsed: Hl7, person: PersonGiven) -> None:
    old = parsed.first("MRG").get(1)
    if not old:
        raise MessageRefused("MRG-1 does not name the number that ends.", code="101", location="MRG-1")
    if old == person.mrn:
        raise MessageRefused("A record cannot be merged with itself.", code="204", location="MRG-1")
    if Patient.objects.filter(laboratory=interface.laboratory, mrn=old).exists():
        raise Held("Two patient records are to be merged: compare both before anything is changed.")


def replay(message: Message, *, by: User) -> Message:
    """Apply a held message again, after its cause was removed. After: APPLIED, HELD again or REFUSED."""
    with transaction.atomic():
        interface = Interface.objects.select_for_update(no_key=True).get(pk=message.interface_id)
        message = Message.objects.select_for_update().get(pk=message.pk)
        if message.state != _STATE.HELD:
            return message
        try:
            with transaction.atomic():
                message.case = _act(interface, read(bytes(message.raw), charset=interface.charset))
            message.state, message.sentence = _STATE.APPLIED, ""
        except Held as reason:
            message.sentence = str(reason)
        except MessageRefused as reason:
            message.state, message.sentence = _STATE.REFUSED, reason.sentence
        message.settled_by, message.done_at = by, timezone.now()
        message.save()
        record("message.replay", actor=by, obj=message, case=message.case, changes={"state": message.state})
    return message


def dismiss(message: Message, *, by: User, reason: str) -> Message:
    """End a held message without effect, with a reason. Before: HELD. After: DISMISSED."""
    with transaction.atomic():
        message = Message.objects.select_for_update().get(pk=message.pk)
        if message.state == _STATE.HELD:
            message.state, message.sentence = _STATE.DISMISSED, f"{message.sentence} Dismissed: {reason}"
            message.settled_by, message.done_at = by, timezone.now()
            message.save()
            record("message.dismiss", actor=by, obj=message, changes={"reason": reason})
    return message
