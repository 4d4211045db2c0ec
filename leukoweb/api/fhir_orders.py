"""Read a ServiceRequest as the fields of a new case; who may order, and what a case may be, is decided elsewhere.

A part of another type than FHIR R4 gives it is refused. Of several numbers and names the one is taken that its type or
use says is meant.
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
NUMBERS_OF_ORDERS = (fhir.ACCESSION, "FILL", "")
NUMBERS_OF_PERSONS = ("MR", "PI", "")  # as in HL7 v2: before those of visits and social security
NAME_USES = ("official", "usual", "")
NOT_IN_USE = ("old", "maiden")
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
    number = clean_number(_number_in(asked, NUMBERS_OF_ORDERS))
    if not number:
        raise Refused("Give the accession number as an identifier.", "identifier")
    priority = _text(asked, "priority") or "routine"
    if priority not in PRIORITIES:
        raise Refused(f"The priority is one of {', '.join(PRIORITIES)}.", "priority")
    mrn, patient = _person_of(asked, patients)
    case = {
        "accession_number": number, "priority": PRIORITIES[priority],
        "ordered_at": moment_of(_text(asked, "authoredOn"), "authoredOn") or timezone.now(),
        "requester": _clinician_in(asked, _part(asked, "requester")),
        "ward": ", ".join(filter(None, (_text(one, "display") for one in _parts(asked, "locationReference")))),
        "clinical_note": "\n".join(_notes_in(asked)),
        "placer_number": clean_number(_number_in(asked, (fhir.PLACER,), is_only=True)),
        "received_at": timezone.now(),
    } | _specimen_in(asked)  # fmt: skip
    _check(Case, case, ("accession_number", "requester", "ward", "placer_number", "specimen_type", "collector"))
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
    named = _contained(asked, reference)
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
    return _number_in(given, NUMBERS_OF_PERSONS), {key: value for key, value in person.items() if value}


def _name_in(person: dict) -> str:
    """Return the name in use, the official one first: family, given names, or as its text has it."""
    names = [one for one in _parts(person, "name") if _text(one, "use") not in NOT_IN_USE]
    name = _first_of(names, [_text(one, "use") for one in names], NAME_USES)
    first = name.get("given") or []
    if not isinstance(first, list) or not all(isinstance(part, str) for part in first):
        raise Refused("given is a list of texts.", "given")
    return ", ".join(part for part in (_text(name, "family"), " ".join(first)) if part) or _text(name, "text")


def _number_in(resource: dict, types: tuple[str, ...], *, is_only: bool = False) -> str:
    """Return the number of the first of these types; of none of them the first, unless these are the only ones."""
    numbers = [one for one in _parts(resource, "identifier") if _text(one, "value") and _text(one, "use") != "old"]
    kinds = [next((_text(coding, "code") for coding in _parts(_part(one, "type"), "coding")), "") for one in numbers]
    if is_only and not set(kinds) & set(types):
        return ""
    return _text(_first_of(numbers, kinds, types), "value")


def _first_of(parts: list[dict], kinds: list[str], wanted: tuple[str, ...]) -> dict:
    """Return the first part of the first kind that is wanted; of none of them, the first."""
    found = dict(zip(reversed(kinds), reversed(parts)))
    return next((found[kind] for kind in wanted if kind in found), parts[0] if parts else {})


def _contained(asked: dict, reference: str) -> list[dict]:
    return [one for one in _parts(asked, "contained") if f"#{one.get('id')}" == reference]


def _clinician_in(asked: dict, reference: dict) -> str:
    """Return the name of a clinician, or what stands for it: the number, or where the sender keeps it."""
    where = _text(reference, "reference")
    named = next((_name_in(one) for one in _contained(asked, where) if one.get("resourceType") == "Practitioner"), "")
    return _text(reference, "display") or named or _text(_part(reference, "identifier"), "value") or where


def _notes_in(asked: dict) -> list[str]:
    """Return what the order says in words: reasons, details and notes."""
    coded = [_words(one) for name in ("reasonCode", "orderDetail") for one in _parts(asked, name)]
    return [text for text in [*coded, *(_text(one, "text") for one in _parts(asked, "note"))] if text]


def _words(concept: dict) -> str:
    codings = _parts(concept, "coding")
    return _text(concept, "text") or next((_text(c, "display") or _text(c, "code") for c in codings), "")


def _specimen_in(asked: dict) -> dict[str, Any]:
    """Return what an order says of the specimen that it contains; one that is elsewhere is not fetched."""
    places = [_text(one, "reference") for one in _parts(asked, "specimen")]
    held = [one for place in places for one in _contained(asked, place) if one.get("resourceType") == "Specimen"]
    if len(held) > 1:
        raise Refused("An order is for one specimen.", "specimen")
    if not held:
        return {}
    collection = _part(held[0], "collection")
    return {
        "specimen_type": _words(_part(held[0], "type")),
        "collected_at": moment_of(_text(collection, "collectedDateTime"), "collectedDateTime"),
        "collector": _clinician_in(asked, _part(collection, "collector")),
    }


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
