"""Which cases the list shows and in which order; it cuts pages by key, so page 2,000 costs what page 1 costs."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.db.models import Count, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from leukoweb.cases.identity import clean_number, search_key
from leukoweb.cases.models import Case, CaseQuerySet, Patient, PatientQuerySet

PAGE_SIZE = 50
COUNT_AT_MOST = 1000
KEYS = {"received": "received_at", "accession": "accession_number", "patient": "patient__name"}


@dataclass(frozen=True)
class Page:
    """One page of cases; `after` and `before` are the keys of cases where the next and the last page begin."""

    cases: list
    count: int
    is_more_than_counted: bool
    after: int | None
    before: int | None


def found(
    cases: CaseQuerySet,
    *,
    search: str = "",
    state: str = "",
    priority: str = "",
    received_from: date | None = None,
    received_to: date | None = None,
) -> CaseQuerySet:
    """Return the cases that fit a search and the filters."""
    for word in search.split():
        number = clean_number(word)
        patients = Patient.objects.filter(Q(name_key__contains=search_key(word)) | Q(mrn__istartswith=number))
        hit = Q(accession_number__icontains=number) | Q(patient__in=patients)
        if merged := _persons_of(patients):
            hit |= Q(patient__in=merged) | Q(patient__survivor__in=merged)
        cases = cases.filter(hit)
    if priority:
        cases = cases.filter(priority=priority)
    if received_from:
        cases = cases.filter(received_at__gte=_midnight(received_from))
    if received_to:
        cases = cases.filter(received_at__lt=_midnight(received_to + timedelta(days=1)))
    return cases.in_state(state) if state else cases


def _persons_of(patients: PatientQuerySet) -> set[int]:
    """The records that stand for the persons of some others, where records were merged: either number finds both."""
    merged = patients.filter(Q(survivor__isnull=False) | Q(records__isnull=False))
    return set(merged.annotate(person_id=Coalesce("survivor", "pk")).values_list("person_id", flat=True))


def page_of(
    cases: CaseQuerySet, *, sort: str = "-received", after: int | None = None, before: int | None = None
) -> Page:
    """Cut one page out of `cases`: from the start, after the case with this key, or before it."""
    key, is_falling = KEYS[sort.lstrip("-")], sort.startswith("-")
    forwards = [f"-{key}", "-id"] if is_falling else [key, "id"]
    backwards = [key, "id"] if is_falling else [f"-{key}", "-id"]
    mark = Case.objects.filter(pk=after or before).values_list(key, "pk").first() if after or before else None
    rows = cases.order_by(*(backwards if mark and before else forwards)).values_list("pk", flat=True)
    if mark:
        # The first condition repeats the second one's bound, so that the database walks its index.
        way = "lt" if is_falling == bool(after) else "gt"
        beyond = Q(**{f"{key}__{way}": mark[0]}) | Q(**{f"pk__{way}": mark[1]})
        rows = rows.filter(Q(**{f"{key}__{way}e": mark[0]}) & beyond)
    # The first page counts by its own query: a search may have to look at every case.
    keys = list(rows[: (PAGE_SIZE if mark else COUNT_AT_MOST) + 1])
    count = cases.order_by()[: COUNT_AT_MOST + 1].count() if mark else len(keys)
    is_more, keys = len(keys) > PAGE_SIZE, keys[:PAGE_SIZE]
    is_back = bool(mark and before)
    if is_back:
        keys.reverse()
    shown = Case.objects.filter(pk__in=keys).with_state().select_related("patient")
    by_key = {case.pk: case for case in shown.annotate(slide_count=Count("slides"))}
    return Page(
        cases=[by_key[pk] for pk in keys if pk in by_key],
        count=min(count, COUNT_AT_MOST),
        is_more_than_counted=count > COUNT_AT_MOST,
        after=keys[-1] if keys and (is_back or is_more) else None,
        before=keys[0] if keys and (is_more if is_back else mark is not None) else None,
    )


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
