"""Receive messages and settle what is held; one transaction applies a message, its answer and its audit event together.

What a message does to cases is left to `ordering` and `counts_in`, sending to `outbox`, and sockets to `listening`.
"""

import hashlib
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext

from leukoweb.accounts.models import Laboratory, User
from leukoweb.accounts.roles import TECHNOLOGIST
from leukoweb.audit.models import Event
from leukoweb.audit.services import record
from leukoweb.cases.models import Case
from leukoweb.delivery.counts_in import apply_counts
from leukoweb.delivery.hl7 import VERSIONS, Hl7, MessageRefused, acknowledgement, header_of, read, too_long
from leukoweb.delivery.models import Interface, Message, ParkedSpecimen, new_control_id
from leukoweb.delivery.ordering import Held, apply_orders
from leukoweb.delivery.results_in import rows_of, written
from leukoweb.refusals import Refused

PARKED_FOR = timedelta(days=7)
AT_ONCE = 200  # of one round; the next round follows
KINDS = {Interface.Direction.CBC_ASTM: "ASTM", Interface.Direction.CBC_CSV: "CSV"}
_STATE = Message.State


def save_interface(interface: Interface, *, by: User) -> Interface:
    """Store an interface with an account of its own, in whose name its orders are registered.

    Before: no other interface of the laboratory has its name.
    """
    with transaction.atomic():
        # First the interface, then its laboratory, as where a message takes effect; what was sent meanwhile stays sent.
        if stored := Interface.objects.select_for_update(no_key=True).filter(pk=interface.pk).first():
            interface.last_event = stored.last_event
        Laboratory.objects.select_for_update(no_key=True).get(pk=interface.laboratory_id)
        same = Interface.objects.filter(laboratory=interface.laboratory_id, name=interface.name)
        if same.exclude(pk=interface.pk).exists():
            raise Refused(
                gettext("There is an interface of this name already. Choose another name."), "name", code="taken"
            )
        if stored is None:
            username = f"interface-{new_control_id()[:8]}"
            account = User(username=username, first_name=interface.name[:150], role=TECHNOLOGIST)
            account.laboratory = interface.laboratory
            account.set_unusable_password()
            account.save()
            interface.acts_as = account
            # What was signed before the interface was there is not owed to it.
            interface.last_event = Event.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        interface.save()
        shown = (
            "name",
            "direction",
            "is_active",
            "host",
            "port",
            "path",
            "use_tls",
            "charset",
            "accession_from",
            "codes",
            "embeds_pdf",
            "site",
        )
        record("interface.save", actor=by, obj=interface, laboratory=interface.laboratory,
               changes={name: getattr(interface, name) for name in shown})  # fmt: skip
    return interface


def receive(interface: Interface, raw: bytes, *, peer: str = "", is_whole: bool = True) -> bytes:
    """Take one message and return its acknowledgement.

    The bytes are stored before they are read. The message, what it changes, its answer and the audit event are then
    written in one transaction, so a peer that got no answer may send it again: the same id with the same bytes gets the
    same answer and changes nothing, the same id with other bytes is refused. Of a message that is too long (not
    `is_whole`) the beginning is stored, and it is refused.
    """
    message = Message.objects.create(
        interface=interface, is_incoming=True, raw=raw, sha256=hashlib.sha256(raw).hexdigest(),
        state=_STATE.RECEIVED, peer=peer[:100],
    )  # fmt: skip
    with transaction.atomic():
        # One message of an interface at a time: the order in which they came is the order in which they take effect.
        interface = Interface.objects.select_for_update(no_key=True).select_related("laboratory").get(pk=interface.pk)
        return _apply_received(interface, message, is_whole)


def receive_file(interface: Interface, raw: bytes, *, by: User) -> list[Message]:
    """Take a file of blood counts: the lines of each specimen are one message, stored before their values are read.

    Raises
    ------
    MessageRefused
        When the file as a whole cannot be read; nothing of it is taken.
    """
    pieces: dict[str, list[dict[str, str]]] = {}
    for row in rows_of(raw, interface.charset):
        pieces.setdefault(row["specimen"], []).append(row)
    if not pieces:
        raise MessageRefused("The file has no line of results.", code="101")
    taken: list[Message] = []
    for rows in pieces.values():
        receive(interface, written(rows).encode(interface.charset), peer=f"file of {by.username}")
        taken.append(interface.messages.latest("pk"))
    return taken


def _apply_received(interface: Interface, message: Message, is_whole: bool) -> bytes:
    parsed, refused = None, None
    try:
        if not is_whole:
            raise too_long()
        if interface.is_hl7:
            parsed = read(bytes(message.raw), charset=interface.charset)
            message.control_id, message.kind = parsed.control_id[:200], parsed.kind[:20]
            message.sender = parsed.sender[:200]
            _check_header(parsed)
        else:
            message.kind = KINDS[Interface.Direction(interface.direction)]
        if earlier := _earlier(message):
            return _answer_again(message, earlier)
        _take_effect(interface, message, parsed)
    except Held as reason:
        message.state, message.sentence, message.unknown_codes = _STATE.HELD, str(reason), reason.codes
    except MessageRefused as reason:
        refused, message.state, message.sentence = reason, _STATE.REFUSED, reason.sentence
    if interface.is_hl7:
        answered = parsed or header_of(bytes(message.raw))
        message.answer = acknowledgement(
            answered, at=timezone.localtime(), control_id=new_control_id(), refused=refused
        )
    message.done_at = None if message.state in (_STATE.HELD, _STATE.PARKED) else timezone.now()
    message.save()
    record("message.receive", actor=interface.acts_as, obj=message, case=message.case, laboratory=interface.laboratory,
           changes={"state": message.state, "kind": message.kind, "sha256": message.sha256})  # fmt: skip
    return bytes(message.answer)


def _take_effect(interface: Interface, message: Message, parsed: Hl7 | None) -> None:
    """Apply a message, all of it or nothing; what has no case yet is parked."""
    with transaction.atomic():
        if interface.takes_counts:
            message.case, waiting = apply_counts(interface, bytes(message.raw), parsed)
        else:
            assert parsed is not None
            message.case, waiting = apply_orders(interface, parsed), []
    ParkedSpecimen.objects.filter(message=message).delete()
    message.state, message.sentence, message.unknown_codes = _STATE.APPLIED, "", {}
    if waiting:
        ParkedSpecimen.objects.bulk_create(ParkedSpecimen(message=message, number=number) for number in waiting)
        message.state = _STATE.PARKED
        message.sentence = f"No case yet of {len(waiting)} specimen{'s' if len(waiting) > 1 else ''}."
        message.given_up_at = message.given_up_at or timezone.now() + PARKED_FOR


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
    """The first message of this sender with the same control id, or the same bytes, that was answered."""
    same = Message.objects.filter(
        interface=message.interface_id, sender=message.sender, is_incoming=True, pk__lt=message.pk
    )
    same = same.filter(control_id=message.control_id) if message.control_id else same.filter(sha256=message.sha256)
    return same.exclude(state=_STATE.RECEIVED).order_by("pk").first()


def _answer_again(message: Message, earlier: Message) -> bytes:
    if earlier.sha256 == message.sha256:
        message.state, message.answer, message.case = _STATE.REPEATED, bytes(earlier.answer), earlier.case
        message.done_at = timezone.now()
        message.save()
        return bytes(message.answer)
    raise MessageRefused("This control id was used before for another message.", code="205", location="MSH-10")


def replay(message: Message, *, by: User) -> Message:
    """Apply a held or parked message again, after its cause was removed. After: APPLIED, REFUSED, or as before."""
    with transaction.atomic():
        interface = Interface.objects.select_for_update(no_key=True).get(pk=message.interface_id)
        message = Message.objects.select_for_update().get(pk=message.pk)
        if message.state not in (_STATE.HELD, _STATE.PARKED):
            return message
        try:
            parsed = read(bytes(message.raw), charset=interface.charset) if interface.is_hl7 else None
            _take_effect(interface, message, parsed)
        except Held as reason:
            message.state, message.sentence, message.unknown_codes = _STATE.HELD, str(reason), reason.codes
        except MessageRefused as reason:
            message.state, message.sentence = _STATE.REFUSED, reason.sentence
        message.settled_by = by
        message.done_at = None if message.state in (_STATE.HELD, _STATE.PARKED) else timezone.now()
        message.save()
        record("message.replay", actor=by, obj=message, case=message.case, changes={"state": message.state})
    return message


def settle_parked() -> int:
    """Apply parked blood counts whose case was registered meanwhile, and end those of a week ago; return how many."""
    cases = Case.objects.filter(laboratory=OuterRef("message__interface__laboratory"))
    own = (
        Q(accession_number=OuterRef("number"))
        | Q(filler_number=OuterRef("number"))
        | Q(placer_number=OuterRef("number"))
    )
    parked = ParkedSpecimen.objects.filter(message__state=_STATE.PARKED).filter(Exists(cases.filter(own)))
    ready = Message.objects.filter(pk__in=parked.values("message")).select_related("interface__acts_as").order_by("pk")
    ready = list(ready[:AT_ONCE])
    for message in ready:
        replay(message, by=message.interface.acts_as)
    with transaction.atomic():
        old = Message.objects.filter(state=_STATE.PARKED, given_up_at__lt=timezone.now())
        ParkedSpecimen.objects.filter(message__in=old).delete()
        old.update(state=_STATE.DISMISSED, sentence="No case of this specimen was registered within 7 days.",
                   done_at=timezone.now())  # fmt: skip
    return len(ready)


def save_codes(interface: Interface, chosen: dict[str, str], *, by: User) -> int:
    """Map codes of the sender, and apply what was held because of them; return how many messages are no longer held."""
    with transaction.atomic():
        interface = Interface.objects.select_for_update(no_key=True).get(pk=interface.pk)
        interface.codes = interface.codes | chosen
        save_interface(interface, by=by)
    held = Message.objects.filter(interface=interface, state=_STATE.HELD).exclude(unknown_codes={}).order_by("pk")
    return sum(replay(message, by=by).state != _STATE.HELD for message in held)


def dismiss(message: Message, *, by: User, reason: str) -> Message:
    """End a held or parked message without effect, with a reason. Before: HELD, PARKED. After: DISMISSED."""
    with transaction.atomic():
        message = Message.objects.select_for_update().get(pk=message.pk)
        if message.state in (_STATE.HELD, _STATE.PARKED):
            message.state, message.sentence = _STATE.DISMISSED, f"{message.sentence} Dismissed: {reason}"
            message.settled_by, message.done_at = by, timezone.now()
            message.save()
            record("message.dismiss", actor=by, obj=message, changes={"reason": reason})
    return message
