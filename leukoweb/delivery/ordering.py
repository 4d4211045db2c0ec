"""Let orders, corrected names and merges take effect on cases, or hold them for a person; it stores no message.

What a message says is read in `orders`; whoever calls is in the transaction that holds the interface.
"""

from dataclasses import replace
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils import timezone

from leukoweb.accounts.time_zone import zone_of
from leukoweb.cases.identity import clean_number, is_same_name
from leukoweb.cases.merging import propose_merge
from leukoweb.cases.models import Case, Patient, PatientMerge, Slide
from leukoweb.cases.services import edit_case, register_case, reject_case
from leukoweb.delivery.hl7 import Hl7, MessageRefused
from leukoweb.delivery.models import FILM, Interface
from leukoweb.delivery.orders import (
    CANCEL,
    CHANGE,
    NEW,
    ORDER_MESSAGES,
    OrderGiven,
    PersonGiven,
    number_of,
    read_orders,
    read_person,
)
from leukoweb.delivery.results_in import IGNORE, OF_PATIENTS
from leukoweb.refusals import Refused

CANCELLED = "Order cancelled by the requester."


class Held(Exception):
    """Say in one sentence why a person must decide before a message takes effect.

    `codes` are those that the interface does not map, code to name: a person maps them.
    """

    def __init__(self, sentence: str, codes: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.codes = codes or {}


def apply_orders(interface: Interface, parsed: Hl7) -> Case | None:
    """Do what a message of the hospital system asks for and return the case that it concerns."""
    given = {"authority": interface.authority, "zone": zone_of(interface.laboratory)}
    if parsed.kind in ORDER_MESSAGES:
        cases = [_apply_order(interface, order) for order in read_orders(parsed, **given)]
        return cases[0] if len(cases) == 1 else None
    if parsed.kind == "ADT^A08":
        _correct_person(interface, read_person(parsed, **given))
        return None
    if parsed.kind == "ADT^A40":
        _propose_merge(interface, parsed, read_person(parsed, **given))
        return None
    types = {kind.split("^")[0] for kind in ORDER_MESSAGES} | {"ADT"}
    if parsed.header.get(9) in types:
        raise MessageRefused("This event is not supported.", code="201", location="MSH-9", ack="AR")
    raise MessageRefused("This message type is not supported.", code="200", location="MSH-9", ack="AR")


def _apply_order(interface: Interface, order: OrderGiven) -> Case | None:
    meaning = interface.meaning_of(order.codings)
    if meaning == IGNORE:
        return None
    case = _case_of(interface, order)
    if order.control == CANCEL:
        return _cancel(interface, case, order.person)
    if meaning != FILM:
        first = order.codings[0]
        raise Held(
            f"The order code {first.key} is not mapped: say on the interface's page whether it is a film.",
            {first.key: first.name},
        )
    if case is None:
        if order.control != NEW:
            raise Held("The order to be changed is not on file.")
        return _register(interface, order)
    if order.control == NEW:
        raise Held(f"The accession number {case.accession_number} is registered already.")
    return _change(interface, case, order)


def _case_of(interface: Interface, order: OrderGiven) -> Case | None:
    """Return the case that has the numbers of an order; held where they are those of two."""
    own = Q(placer_number=order.placer_number) if order.placer_number else Q(pk=None)
    if number := _number_in(interface, order):
        own |= Q(accession_number__iexact=number)
    found = list(Case.objects.filter(own, laboratory=interface.laboratory).select_related("patient")[:2])
    if len(found) > 1:
        raise Held("The placer and the accession number of the order belong to different cases.")
    return found[0] if found else None


def _number_in(interface: Interface, order: OrderGiven) -> str:
    """The number that the interface takes as accession number; "" where the order has none."""
    return clean_number(
        {
            Interface.Accession.FILLER: order.filler_number or order.placer_number,
            Interface.Accession.PLACER: order.placer_number,
            Interface.Accession.SPECIMEN: order.specimen_number,
        }[Interface.Accession(interface.accession_from)]
    )


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
    if order.specimen_role not in OF_PATIENTS:
        raise Held(f"The specimen of this order is no patient's: SPM-11 says {order.specimen_role[:20]}.")
    number = _number_in(interface, order)
    if not number:
        raise MessageRefused("The order has no number to be used as accession number.", code="101", location="OBR-3")
    fields = {"accession_number": number, "received_at": order.received_at or timezone.now(), **_fields_of(order)}
    _check_texts(fields, order.person)
    try:
        return register_case(by=interface.acts_as, mrn=order.person.mrn, patient=_given(order.person), case=fields)
    except Refused as reason:
        raise Held(str(reason)) from reason


def _change(interface: Interface, case: Case, order: OrderGiven) -> Case:
    """Change a case as RP replaces it or XO changes it: what XO leaves empty stays, what it empties goes."""
    _refuse_begun(case, "changed")
    fields = _fields_of(order)
    if order.control == CHANGE:
        said = {name: value for name, value in fields.items() if value or name in order.emptied}
        fields = {name: value for name, value in said.items() if name != "priority" or order.is_stat is not None}
    _check_texts(fields, order.person)
    _refuse_other_person(case, order.person, "changed")
    try:
        return edit_case(case, by=interface.acts_as, mrn=case.patient.mrn, patient={}, fields=fields)
    except Refused as reason:
        raise Held(str(reason)) from reason


def _cancel(interface: Interface, case: Case | None, person: PersonGiven) -> Case:
    if case is None:
        raise Held("The order to be cancelled is not on file.")
    _refuse_begun(case, "cancelled")
    _refuse_other_person(case, person, "cancelled")
    try:
        reject_case(case, by=interface.acts_as, reason=CANCELLED)
    except Refused as reason:
        raise Held(str(reason)) from reason
    return case


def _refuse_begun(case: Case, done: str) -> None:
    """Hold what would change a case that somebody works on or has signed."""
    if Slide.objects.filter(case=case).exists():
        raise Held(f"The order was {done} by the requester after slides of the case were uploaded.")


def _refuse_other_person(case: Case, person: PersonGiven, done: str) -> None:
    """Hold what would change a case of somebody else: a number was used twice, or typed wrongly."""
    same_name = is_same_name(person.name, case.patient.name)
    numbers = {case.patient.mrn.casefold(), case.patient.person.mrn.casefold()}
    if person.mrn.casefold() not in numbers or _differences(
        case.patient, replace(person, name="" if same_name else person.name)
    ):
        raise Held(f"The {done} order names a different patient than the case.")


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
    patient = Patient.objects.filter(laboratory=interface.laboratory, mrn__iexact=person.mrn).first()
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


def _propose_merge(interface: Interface, parsed: Hl7, person: PersonGiven) -> None:
    """Apply ADT^A40: a proposal in the name of the interface, which a person approves; nothing is merged by it."""
    old = number_of(parsed.first("MRG"), 1, interface.authority)
    if not old:
        raise MessageRefused("MRG-1 does not name the number that ends.", code="101", location="MRG-1")
    if old.casefold() == person.mrn.casefold():
        raise MessageRefused("A record cannot be merged with itself.", code="204", location="MRG-1")
    own = Patient.objects.filter(laboratory=interface.laboratory)
    ended, kept = own.filter(mrn__iexact=old).first(), own.filter(mrn__iexact=person.mrn).first()
    if ended is None:
        return  # nobody here has this number
    if kept is None:
        raise Held("A record is to be merged into one that is not on file: register a case of that number first.")
    if PatientMerge.objects.living().filter(kept=kept, ended=ended).exists():
        return
    try:
        propose_merge(
            kept=kept, ended=ended, by=interface.acts_as, origin=f"{interface.name}, {parsed.control_id}",
            reason=f"ADT^A40 of {interface.name}.",
        )  # fmt: skip
    except Refused as reason:
        raise Held(str(reason)) from reason
