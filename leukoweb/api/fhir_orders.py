"""Read a ServiceRequest as the fields of a new case; who may order, and what a case may be, is decided elsewhere.

A part of another type than FHIR R4 gives it is refused: nothing that a sender wrote is left out unseen.
"""

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import Http404
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from leukoweb.cases.identity import clean_number
from leukoweb.cases.models import Case, Patient
from leukoweb.cases.services import MOST_YEARS, OLDEST_YEAR
from leukoweb.given import is_offset_on_earth, whole_number
from leukoweb.refusals import Refused
from leukoweb.review.reports import fhir

PRIORITIES = {"routine": "routine", "urgent": "stat", "asap": "stat", "stat": "stat"}
GENDERS = {"female": "F", "male": "M", "other": "", "unknown": ""}


def order_of(asked: object, patients: QuerySet[Patient]) -> dict[str, Any]:
    """Read an order: a new case of one of these patients, or of one that is contained in it.

    Raises
    ------
    Refused
        When it is no order for a blood film, or a part of it is of another type than FHIR gives it.
    """
    if not isinstance(asked, dict) or asked.get("resourceType") != "ServiceRequest":
        raise Refused("Send a ServiceRequest.", "resourceType")
    if asked.get("status") != "active" or asked.get("intent") != "order":
        raise Refused("Only a ServiceRequest with status “active” and intent “order” is an order.", "status")
    if asked.get("doNotPerform") or any(
        one.get(name) for one in (asked, *_parts(asked, "contained")) for name in ("modifierExtension", "implicitRules")
    ):
        raise Refused(
            "What changes the meaning of an order (doNotPerform, modifierExtension, implicitRules) is not taken.",
            "modifierExtension",
        )
    codes = [(one.get("system"), one.get("code")) for one in _parts(_part(asked, "code"), "coding")]
    if (fhir.LOINC, fhir.PANEL[0]) not in codes:
        raise Refused(f"Only {fhir.PANEL[0]} of the system {fhir.LOINC} can be ordered here.", "code", status=422)
    number = clean_number(_number_in(asked))
    if not number:
        raise Refused("Give the accession number as an identifier.", "identifier")
    priority = _text(asked, "priority") or "routine"
    if priority not in PRIORITIES:
        raise Refused(f"The priority is one of {', '.join(PRIORITIES)}.", "priority")
    mrn, patient = _person_of(asked, patients)
    case = {
        "accession_number": number, "priority": PRIORITIES[priority],
        "ordered_at": moment_of(_text(asked, "authoredOn"), "authoredOn") or timezone.now(),
        "requester": _text(_part(asked, "requester"), "display"),
        "clinical_note": "\n".join(_text(one, "text") for one in _parts(asked, "note")),
        "received_at": timezone.now(),
    }  # fmt: skip
    _check(Case, case, ("accession_number", "requester"))
    _check(Patient, {"mrn": mrn, **patient}, ("mrn", "name"))
    return {"mrn": mrn, "patient": patient, "case": case}


def moment_of(text: str, name: str) -> datetime | None:
    """A date or a time with its offset; None where there is none."""
    if not text:
        return None
    try:
        day, at = parse_date(text), parse_datetime(text)
    except ValueError:
        day = at = None
    if at is not None and at.tzinfo is not None and OLDEST_YEAR <= at.year < 9999 and is_offset_on_earth(at):
        return at
    if day is None or not OLDEST_YEAR - MOST_YEARS <= day.year < 9999:
        raise Refused(f"{name} is no date, and no time with its offset.", name)
    return datetime(day.year, day.month, day.day, tzinfo=timezone.get_default_timezone())


def _person_of(asked: dict, patients: QuerySet[Patient]) -> tuple[str, dict[str, Any]]:
    """The record number and, of a contained Patient, what it says of the person."""
    reference = _text(_part(asked, "subject"), "reference")
    if not reference.startswith("#"):
        kind, _, key = reference.partition("/")
        known = patients.filter(pk=whole_number(key) or 0).first() if kind == "Patient" else None
        if known is None:
            raise Http404
        return known.mrn, {}
    named = [one for one in _parts(asked, "contained") if f"#{one.get('id')}" == reference]
    if [one.get("resourceType") for one in named] != ["Patient"]:
        raise Refused(
            "The subject names one contained Patient: it is not there, or another part has its id.", "subject"
        )
    [given] = named
    gender = _text(given, "gender")
    if gender and gender not in GENDERS:
        raise Refused(f"The gender is one of {', '.join(GENDERS)}.", "gender")
    born = moment_of(_text(given, "birthDate"), "birthDate")
    person = {"name": _name_in(given), "sex": GENDERS.get(gender, ""), "birth_date": born and born.date()}
    return _number_in(given), {key: value for key, value in person.items() if value}


def _name_in(person: dict) -> str:
    """Return the first name in use: family, given names, or as its text has it."""
    name = next((one for one in _parts(person, "name") if _text(one, "use") not in ("old", "maiden")), {})
    first = name.get("given") or []
    if not isinstance(first, list) or not all(isinstance(part, str) for part in first):
        raise Refused("given is a list of texts.", "given")
    return ", ".join(part for part in (_text(name, "family"), " ".join(first)) if part) or _text(name, "text")


def _number_in(resource: dict) -> str:
    return next(filter(None, (_text(one, "value") for one in _parts(resource, "identifier"))), "")


def _check(model: type[Model], values: dict[str, Any], names: tuple[str, ...]) -> None:
    """Refuse a text that a row cannot keep, with the field's own sentence."""
    for name in names:
        try:
            if values.get(name) or name in ("accession_number", "mrn"):
                model._meta.get_field(name).clean(values.get(name, ""), None)
        except ValidationError as error:
            raise Refused(" ".join(map(str, error)), name) from error


def _part(resource: dict, name: str) -> dict:
    part = resource.get(name, {})
    if not isinstance(part, dict):
        raise Refused(f"{name} is an object.", name)
    return part


def _parts(resource: dict, name: str) -> list[dict]:
    parts = resource.get(name, [])
    if not isinstance(parts, list) or not all(isinstance(one, dict) for one in parts):
        raise Refused(f"{name} is a list of objects.", name)
    return parts


def _text(resource: dict, name: str) -> str:
    text = resource.get(name, "")
    if not isinstance(text, str):
        raise Refused(f"{name} is a text.", name)
    return text
