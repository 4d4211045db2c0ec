"""Which patient records may be of one person: likely pairs for a person to compare; it merges nothing.

Twins of one name and siblings with neighbouring numbers are found, too: that is why a person decides, and why "not the
same person" is remembered.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from leukoweb.accounts.models import Laboratory, User
from leukoweb.audit.services import record
from leukoweb.cases.models import Patient, PatientMerge
from leukoweb.refusals import Refused
from leukoweb.texts import checked_reason

SAME_PERSON = gettext_noop("same name and birth date")
SAME_NUMBER = gettext_noop("the numbers differ in capital letters only")
NEAR_NUMBER = gettext_noop("same birth date, and the numbers differ by one character or by two that are swapped")
MOST_PAIRS = 200
MOST_OF_A_DAY = 500  # records of one birth date whose numbers are compared with one another


@dataclass(frozen=True)
class Pair:
    """Two records that may be of one person; the one with more cases first."""

    first: Patient
    second: Patient
    why: str


@dataclass(frozen=True)
class Known:
    """What is compared of a record."""

    pk: int
    mrn: str
    name_key: str
    birth_date: date | None


def is_near(one: str, other: str) -> bool:
    """Say whether two numbers differ by one character (changed, left out or added), or by two neighbours swapped."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    if len(one) == len(other):
        differ = [place for place in range(len(one)) if one[place] != other[place]]
        if len(differ) == 1:
            return True
        if len(differ) != 2 or differ[1] != differ[0] + 1:
            return False
        left, right = differ
        return (one[left], one[right]) == (other[right], other[left])
    short, long = sorted((one, other), key=len)
    place = next((n for n in range(len(short)) if short[n] != long[n]), len(short))
    return short[place:] == long[place + 1 :]


def likely_pairs(records: Iterable[Known]) -> Iterator[tuple[int, int, str]]:
    """Give pairs of keys with the reason, the surest first; a pair may come twice.

    Only records of one birth date, or with one number, are compared: the work grows with the number of records.
    """
    of_day: dict[date, list[Known]] = defaultdict(list)
    of_number: dict[str, list[Known]] = defaultdict(list)
    for known in records:
        of_number[known.mrn.casefold()].append(known)
        if known.birth_date:
            of_day[known.birth_date].append(known)
    for same in of_number.values():
        yield from ((one.pk, other.pk, SAME_NUMBER) for one, other in _pairs(same))
    for same in of_day.values():
        of_name: dict[str, list[Known]] = defaultdict(list)
        for known in same:
            of_name[" ".join(sorted(known.name_key.split()))].append(known)
        for namesakes in of_name.values():
            yield from ((one.pk, other.pk, SAME_PERSON) for one, other in _pairs(namesakes))
    for same in of_day.values():
        yield from (
            (one.pk, other.pk, NEAR_NUMBER)
            for one, other in _pairs(same[:MOST_OF_A_DAY])
            if is_near(one.mrn.casefold(), other.mrn.casefold())
        )


def _pairs(records: list[Known]) -> Iterator[tuple[Known, Known]]:
    for number, one in enumerate(records):
        for other in records[number + 1 :]:
            yield one, other


def duplicates_of(laboratory: Laboratory) -> list[Pair]:
    """Return at most MOST_PAIRS pairs that nobody has decided about, the surest first."""
    own = Patient.objects.filter(laboratory=laboratory, survivor=None)
    own = own.exclude(pk__in=PatientMerge.objects.living().values("ended"))
    records = [Known(*row) for row in own.order_by("pk").values_list("pk", "mrn", "name_key", "birth_date")]
    decided = {frozenset(row) for row in PatientMerge.objects.filter(
        kept__laboratory=laboratory, are_two_persons=True).values_list("kept", "ended")}  # fmt: skip
    found: dict[frozenset[int], str] = {}
    for one, other, why in likely_pairs(records):
        pair = frozenset((one, other))
        if pair not in decided and pair not in found:
            found[pair] = why
            if len(found) == MOST_PAIRS:
                break
    keys = {key for pair in found for key in pair}
    patients = Patient.objects.annotate(case_count=Count("cases")).in_bulk(list(keys))
    shown = []
    for pair, why in found.items():
        first, second = sorted((patients[key] for key in pair), key=lambda one: (-one.case_count, one.pk))
        shown.append(Pair(first, second, why))
    return shown


def not_same_person(one: Patient, other: Patient, *, by: User, reason: str) -> PatientMerge:
    """Remember that two records are of two persons; saying it again changes nothing."""
    if not by.can("approve_merge"):
        raise Refused(_("Your role cannot do this: an administrator approves."), code="not_allowed")
    reason = checked_reason(reason, _("Enter why these are two persons."))
    if one.pk == other.pk or not by.laboratory_id == one.laboratory_id == other.laboratory_id:
        raise Refused(_("Choose two records of your laboratory."), code="not_allowed")
    with transaction.atomic():
        Laboratory.objects.select_for_update(no_key=True).get(pk=by.laboratory_id)
        pair = Q(kept=one, ended=other) | Q(kept=other, ended=one)
        if PatientMerge.objects.living().filter(pair).exists():
            raise Refused(_("A merge of these records waits or is in force: decline or undo it."), code="wrong_state")
        if said := PatientMerge.objects.filter(pair, are_two_persons=True).first():
            return said
        said = PatientMerge.objects.create(
            kept=one, ended=other, reason=reason, proposed_by=by, declined_by=by, declined_at=timezone.now(),
            decline_reason=reason, are_two_persons=True,
        )  # fmt: skip
        record("merge.not_same", actor=by, obj=said, laboratory=one.laboratory,
               changes={"first": one.mrn, "second": other.mrn, "reason": reason})  # fmt: skip
    return said
