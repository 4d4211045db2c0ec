"""Services that register, edit and reject a case, each with its audit event."""

import hashlib
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from leukoweb.accounts.models import Laboratory, User
from leukoweb.audit.services import record
from leukoweb.cases.identity import clean_name, clean_number, is_same_name
from leukoweb.cases.models import REJECTED, REJECTIONS, SIGNED, WITHDRAWN, Case, Patient
from leukoweb.cases.wbc import refusal_of
from leukoweb.given import is_storable
from leukoweb.refusals import Refused
from leukoweb.texts import checked_reason, within

CLOSED = {
    REJECTED: gettext_lazy("The specimen of this case was rejected: the case stays as it is."),
    SIGNED: gettext_lazy("The report of this case is signed: a pathologist must open an amendment to change the case."),
    WITHDRAWN: gettext_lazy(
        "The report of this case is withdrawn: a pathologist must open an amendment to change the case."
    ),
}


def patient_with_mrn(mrn: str, *, by: User, field: str) -> Patient:
    """Return the record of the person's own laboratory under a number; refuse, naming the field, where none is."""
    mrn = clean_number(mrn)
    own = Patient.objects.filter(laboratory=by.laboratory)
    found = own.filter(mrn=mrn).first() if mrn and is_storable(mrn) else None
    if found is None:
        raise Refused(gettext("There is no patient with this MRN: compare it with the request form."), field)
    return found


CLOCKS_DIFFER = timedelta(minutes=10)
MOST_YEARS, OLDEST_YEAR = 130, 1900  # nobody is older, no specimen here is: a year of two digits was typed
PATIENT_FIELDS = ("name", "sex", "birth_date")
CASE_FIELDS = (
    "accession_number", "priority", "stain", "collected_at", "received_at", "clinical_note",
    "wbc", "wbc_unit", "wbc_at", "wbc_source",
)  # fmt: skip
ORDER_FIELDS = (
    "ordered_at", "placer_number", "filler_number", "requester", "ward", "copy_to", "specimen_type", "collector",
)  # fmt: skip
AuditEntry = tuple[str, Patient, User, Case | None, dict]  # action, patient, who, case, changes


def register_case(*, by: User, mrn: str, patient: dict, case: dict) -> Case:
    """Register a case for the patient with this MRN, who is made when new.

    `patient` and `case` are the cleaned fields of the form. After: Case, perhaps Patient, Events.
    """
    mrn, patient, case = _cleaned(mrn, patient, case)
    _refuse_contradictions({"stain": "", **case}, patient)
    with transaction.atomic():
        _refuse_other_case(by.laboratory, case["accession_number"])
        events: list[AuditEntry] = []  # written last: they hold the audit's chain until the end of the transaction
        person = _patient_of(by.laboratory, mrn, patient, by=by, events=events)
        _refuse_born_after(person.birth_date, case)
        try:
            with transaction.atomic():
                new = Case.objects.create(laboratory=by.laboratory, patient=person, registered_by=by, **case)
        except IntegrityError as error:
            raise Refused(_taken(case["accession_number"]), "accession_number", code="taken") from error
        _write(events)
        record("case.register", actor=by, obj=new, case=new, changes=_as_text({"mrn": mrn, **case}))
    return new


def edit_case(case: Case, *, by: User, mrn: str, patient: dict, fields: dict, seen: str | None = None) -> Case:
    """Change what was registered; old and new values go to the audit. Before: neither signed nor rejected.

    `seen` marks what a person began to edit (see `mark_of`): all of it is written, so it must not have changed.
    """
    mrn, patient, fields = _cleaned(mrn, patient, fields)
    with transaction.atomic():
        case = open_case(case)
        if seen not in (None, mark_of(case)):
            raise Refused(
                gettext("This case was changed meanwhile. Load the page again, then enter your change."),
                code="changed_since",
            )
        _refuse_other_case(case.laboratory, fields.get("accession_number", case.accession_number), except_for=case)
        events: list[AuditEntry] = []
        before = {name: getattr(case, name) for name in CASE_FIELDS + ORDER_FIELDS} | {"mrn": case.patient.mrn}
        if mrn == case.patient.mrn:
            _correct_patient(case.patient, patient, by=by, case=case, events=events)
        else:
            case.patient = _patient_of(case.laboratory, mrn, patient, by=by, events=events)
        for name, value in fields.items():
            setattr(case, name, value)
        case.flag_level, case.flags = None, []
        _refuse_contradictions({name: getattr(case, name) for name in CASE_FIELDS + ORDER_FIELDS}, patient)
        _refuse_born_after(case.patient.birth_date, {name: getattr(case, name) for name in CASE_FIELDS})
        try:
            with transaction.atomic():
                case.save()
        except IntegrityError as error:
            raise Refused(_taken(case.accession_number), "accession_number", code="taken") from error
        changes = _changed(before, {name: getattr(case, name) for name in CASE_FIELDS + ORDER_FIELDS} | {"mrn": mrn})
        _write(events)
        if changes:
            record("case.edit", actor=by, obj=case, case=case, changes=changes)
    return case


def mark_of(case: Case) -> str:
    """Return a mark of what can be edited of a case and its patient: another one says that some of it was changed."""
    values = [getattr(case, name) for name in CASE_FIELDS]
    values += [getattr(case.patient, name) for name in ("mrn", *PATIENT_FIELDS)]
    return hashlib.sha256(repr(values).encode()).hexdigest()


def reject_case(case: Case, *, by: User, reason: str, code: str = "") -> None:
    """Refuse a specimen for good, with a reason and its code (S8, S12). After: REJECTED.

    Before: no version of its report was ever signed, not even while an amendment is open.
    """
    reason = checked_reason(
        reason, gettext("Enter why the specimen is rejected: the reason is printed on the rejection report.")
    )
    if code and code not in REJECTIONS:
        raise Refused(gettext("Choose one of the listed reasons."), "code")
    with transaction.atomic():
        case = open_case(case)
        if Case.objects.reported().filter(pk=case.pk).exists():
            raise Refused(
                gettext(
                    "This case has a signed report: its specimen is never rejected. Sign the amendment, or withdraw "
                    "the report with a reason."
                ),
                code="wrong_state",
            )
        case.rejected_at, case.rejected_by = timezone.now(), by
        case.rejection_reason, case.rejection_code = reason, code
        case.save(update_fields=["rejected_at", "rejected_by", "rejection_reason", "rejection_code"])
        record("case.reject", actor=by, obj=case, case=case, changes={"reason": reason, "code": code})


def _cleaned(mrn: str, patient: dict, case: dict) -> tuple[str, dict, dict]:
    """Return numbers and name as they are kept, whoever sends them."""
    mrn = clean_number(mrn)
    if not mrn:
        raise Refused(gettext("Enter the patient's medical record number: it holds no visible character."), "mrn")
    if patient.get("name"):
        patient = patient | {"name": clean_name(patient["name"])}
    if "accession_number" in case:
        case = case | {"accession_number": clean_number(case["accession_number"])}
    within(case.get("clinical_note") or "", Case._meta.get_field("clinical_note").max_length, "note")
    return mrn, patient, case


def _refuse_other_case(laboratory: Laboratory, accession_number: str, *, except_for: Case | None = None) -> None:
    """Refuse a number that differs from a registered one in capitals only; holds the laboratory until the end."""
    Laboratory.objects.select_for_update(no_key=True).get(pk=laboratory.pk)
    others = Case.objects.filter(laboratory=laboratory, accession_number__iexact=accession_number)
    others = others.exclude(accession_number=accession_number)
    if except_for is not None:
        others = others.exclude(pk=except_for.pk)
    if other := others.first():
        raise Refused(
            gettext(
                "The accession number %(accession_number)s is already registered, and "
                "%(accession_number_2)s differs from it in capital letters only: open that case, or check "
                "the scanner's caps lock."
            )
            % {"accession_number": other.accession_number, "accession_number_2": accession_number},
            "accession_number",
            code="taken",
        )


def _refuse_born_after(birth_date: date | None, case: dict) -> None:
    """Refuse a specimen that was taken before its patient was born."""
    for name in ("collected_at", "received_at"):
        if birth_date and case.get(name) and timezone.localdate(case[name]) < birth_date:
            raise Refused(
                gettext("The patient was born after this specimen: check birth date and times."), "birth_date"
            )


def _refuse_contradictions(case: Mapping[str, Any], patient: Mapping[str, Any]) -> None:
    """Refuse values that cannot stand together, whoever sends them."""
    now = timezone.now()
    times = {name: case.get(name) for name in ("collected_at", "received_at", "wbc_at", "ordered_at")}
    for name, at in times.items():
        if at and at > now + CLOCKS_DIFFER:
            raise Refused(gettext("This time lies in the future: check the date."), name)
        if at and at.year < OLDEST_YEAR:
            raise Refused(
                gettext("This time lies before %(oldest_year)s: check the year.") % {"oldest_year": OLDEST_YEAR}, name
            )
    if times["collected_at"] and times["collected_at"] > (times["received_at"] or now):
        raise Refused(
            gettext("The specimen cannot be collected after it was received: check both times."), "collected_at"
        )
    if patient.get("birth_date") and patient["birth_date"] > timezone.localdate():
        raise Refused(gettext("The birth date lies in the future: check the date."), "birth_date")
    if patient.get("birth_date") and timezone.localdate().year - patient["birth_date"].year > MOST_YEARS:
        raise Refused(
            gettext("The birth date lies more than %(most_years)s years back: check the year.")
            % {"most_years": MOST_YEARS},
            "birth_date",
        )
    if case.get("wbc") is not None and not case.get("wbc_unit"):
        raise Refused(gettext("Give the unit of the analyser's WBC: 10*9/L, 10*3/uL or /uL."), "wbc_unit")
    if case.get("wbc") is not None and (sentence := refusal_of(case["wbc"], case["wbc_unit"])):
        raise Refused(sentence, "wbc")
    if times["wbc_at"] and times["collected_at"] and times["wbc_at"] < times["collected_at"]:
        raise Refused(
            gettext("The WBC cannot be measured before the specimen was collected: check both times."), "wbc_at"
        )


def open_case(case: Case) -> Case:
    """Lock the case's row and return it, if it may still be changed."""
    case = Case.objects.locked(case.pk)
    if case.state in CLOSED:
        raise Refused(CLOSED[case.state], code="case_closed")
    return case


def _patient_of(laboratory: Laboratory, mrn: str, fields: dict, *, by: User, events: list[AuditEntry]) -> Patient:
    """The patient with this MRN: made when new, refused when the MRN stands under another name or birth date."""
    given: dict[str, Any] = {name: fields.get(name) for name in PATIENT_FIELDS if fields.get(name)}
    known = Patient.objects.filter(laboratory=laboratory)
    patient = known.filter(mrn=mrn).first() or known.filter(mrn__iexact=mrn).first()
    if patient is None:
        if "name" not in given:
            raise Refused(gettext("This MRN is not on file: enter the patient's name as well."), "name")
        patient, is_new = Patient.objects.get_or_create(laboratory=laboratory, mrn=mrn, defaults=given)
        if is_new:
            events.append(("patient.register", patient, by, None, _as_text({"mrn": mrn, **given})))
            return patient
    names = {patient.name, patient.person.name}  # one of them since a merge
    if "name" in given and not any(is_same_name(given["name"], name) for name in names):
        raise Refused(
            gettext(
                "This MRN belongs to a patient with another name: compare both with the request form. "
                "To correct a name, edit one of that patient's cases."
            ),
            "name",
        )
    if patient.birth_date and given.get("birth_date", patient.birth_date) != patient.birth_date:
        raise Refused(
            gettext("This MRN belongs to a patient with another birth date: compare both with the request form."),
            "birth_date",
        )
    if patient.sex != Patient.Sex.UNKNOWN and given.get("sex", "U") not in ("U", patient.sex):
        raise Refused(
            gettext("This MRN belongs to a patient of another sex: compare both with the request form."), "sex"
        )
    unknown = {"birth_date": patient.birth_date is None, "sex": patient.sex == Patient.Sex.UNKNOWN}
    _correct_patient(
        patient, {name: given[name] for name, is_open in unknown.items() if is_open and name in given},
        by=by, events=events,
    )  # fmt: skip
    return patient


def _correct_patient(
    patient: Patient, fields: dict, *, by: User, events: list[AuditEntry], case: Case | None = None
) -> None:
    before = {name: getattr(patient, name) for name in PATIENT_FIELDS}
    for name, value in fields.items():
        setattr(patient, name, value)
    changes = _changed(before, {name: getattr(patient, name) for name in PATIENT_FIELDS})
    if changes:
        patient.save(update_fields=list(changes))
        # After the commit: whoever edits another case of this patient holds that case and waits for the patient's row.
        transaction.on_commit(
            lambda: Case.objects.filter(patient__in=Patient.objects.same_person(patient)).forget_flags()
        )
        events.append(("patient.edit", patient, by, case, changes))


def _write(events: list[AuditEntry]) -> None:
    for action, patient, by, case, changes in events:
        record(action, actor=by, obj=patient, case=case, changes=changes)


def _taken(accession_number: str) -> str:
    return f"The accession number {accession_number} is already registered: open that case, or check the number."


def _changed(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, list]:
    return {name: [_text(before[name]), _text(after[name])] for name in after if before[name] != after[name]}


def _as_text(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: _text(value) for name, value in fields.items() if value not in (None, "")}


def _text(value: Any) -> str | None:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value if value is None else str(value)
