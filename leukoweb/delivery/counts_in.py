"""Let the blood counts of a message join their cases, or hold them for a person; it stores no message.

A count finds its case by the number of the specimen alone, never by a name; a name that is another person's is held.
"""

from django.db.models import Q

from leukoweb.accounts.time_zone import zone_of
from leukoweb.cases.blood_counts import BloodCount, store_blood_count
from leukoweb.cases.identity import clean_number, name_key
from leukoweb.cases.models import Case
from leukoweb.delivery.astm import read_astm_results
from leukoweb.delivery.hl7 import Hl7
from leukoweb.delivery.models import Interface
from leukoweb.delivery.ordering import Held
from leukoweb.delivery.results_in import (
    ResultGiven,
    read_csv_results,
    read_hl7_results,
    sort_observations,
)
from leukoweb.refusals import Refused


def apply_counts(interface: Interface, raw: bytes, parsed: Hl7 | None) -> tuple[Case | None, list[str]]:
    """Store every blood count whose case is there; return the case if there is one, and the numbers without a case."""
    zone = zone_of(interface.laboratory)
    if parsed is not None:
        given = read_hl7_results(parsed, zone=zone)
    elif interface.direction == Interface.Direction.CBC_ASTM:
        given = read_astm_results(raw, charset=interface.charset, zone=zone)
    else:
        given = read_csv_results(raw, charset=interface.charset, zone=zone)
    counts = [(one, _count_of(interface, one)) for one in given]
    unknown = {code: name for _, (_, codes) in counts for code, name in codes.items()}
    if unknown:
        named = ", ".join(sorted(unknown)[:20])
        raise Held(f"Unmapped codes: {named}. An administrator can map them on the page of the interface.", unknown)
    cases: list[Case] = []
    waiting: list[str] = []
    for one, (count, _) in counts:
        if count is None:
            continue
        case = _case_of(interface, one)
        if case is None:
            waiting.append(one.numbers[0][:200])
            continue
        _refuse_other_person(case, one)
        try:
            store_blood_count(case, count, by=interface.acts_as)
        except Refused as reason:
            raise Held(str(reason)) from reason
        cases.append(case)
    return (cases[0] if len(cases) == 1 else None), list(dict.fromkeys(waiting))


def _count_of(interface: Interface, given: ResultGiven) -> tuple[BloodCount | None, dict[str, str]]:
    """The values of one specimen as they are kept, None where all were ignored; and the codes that nobody mapped."""
    found = sort_observations(given, interface.meaning_of)
    is_said = found.values or len(found.remarks) > len(given.remarks)  # words beside ignored values are none
    if found.unknown or not is_said:
        return None, dict(found.unknown)
    return BloodCount(given.analyser, given.measured_at, found.is_final, found.values, found.remarks), {}


def _case_of(interface: Interface, given: ResultGiven) -> Case | None:
    for number in map(clean_number, given.numbers):
        own = Q(accession_number=number) | Q(filler_number=number) | Q(placer_number=number)
        found = list(Case.objects.filter(own, laboratory=interface.laboratory).select_related("patient")[:2])
        if len(found) > 1:
            raise Held(f"The specimen number {number} belongs to more than one case.")
        if found:
            return found[0]
    return None


def _refuse_other_person(case: Case, given: ResultGiven) -> None:
    """Hold a count that names another person than the case: tubes are mixed up, or numbers are used again."""
    known, said = case.patient.name, name_key(given.family_name)
    family = known.partition(",")[0]
    is_whole_name = sorted(said.split()) == sorted(name_key(known).split())  # in one component, in either order
    if said and not is_whole_name and said not in {name_key(part) for part in [family, *family.split(" ")]}:
        raise Held("The blood count names a different patient than the case of this specimen number.")
    if given.birth_date and case.patient.birth_date and given.birth_date != case.patient.birth_date:
        raise Held("The birth date in the blood count differs from the patient's.")
