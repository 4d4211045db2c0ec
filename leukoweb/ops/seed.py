"""Fill an empty PostgreSQL with invented cases, slides, cells, decisions, signed reports and events, in bulk.

What a few first cases come to (report content, stored flags) is worked out as for every case; the others are copies of
them with their own numbers, persons and times, sealed one after the other. Their images have no pixels.
"""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, cast

from django.core.management.color import no_style
from django.db import connection, models, transaction
from django.utils import timezone

from leukoweb.accounts.models import Laboratory, User
from leukoweb.analysis.detectors import active_detector
from leukoweb.analysis.models import Cell, ImageResult, Run
from leukoweb.audit.models import Event
from leukoweb.audit.services import event_of
from leukoweb.cases.identity import search_key
from leukoweb.cases.models import Case, Patient, Slide, SlideImage
from leukoweb.refusals import Refused
from leukoweb.review.counting.ages import age_at
from leukoweb.review.counting.policies import Rules
from leukoweb.review.models import Decision, HandOver, Report
from leukoweb.review.reports.content import age_part, content_of, signature_of
from leukoweb.review.reports.parts import Content, sealed_time
from leukoweb.review.reports.seal import FIRST, seal_of
from leukoweb.review.reports.signing import MEANINGS_WITHOUT_REVIEW
from leukoweb.review.services import save_policy
from leukoweb.review.urgency import Stored, flags_now, work_out_flags

LABORATORY = "Seeded laboratory"
LEAST_CASES = 100
SLIDES = 3
PATTERNS = 16  # differentials of healthy blood that repeat; one more, with blasts, is among the open cases
ORDINARY = {"NGS": 56, "NGB": 2, "LYT": 30, "MON": 6, "EOS": 3, "BAS": 1}
GRAVE = {"NGS": 30, "LYT": 30, "MYO": 25, "MON": 10, "EBO": 5}
EVERY = timedelta(minutes=15)  # a case arrives
SYLLABLES = ("ba", "do", "ka", "li", "mo", "ne", "ra", "si", "tu", "ve")
CASES_AT_ONCE = 1000
SIZE_PX = 3000


@dataclass(frozen=True)
class Plan:
    """How much is made; every number follows from these and the seed. One cell in ten has a person's decision."""

    cases: int
    cells: int = 100
    open_cases: int = 200
    seed: int = 1

    def __post_init__(self) -> None:
        if self.cases < LEAST_CASES or not 10 <= self.cells <= 5000 or self.open_cases < 1:
            raise Refused(f"Make at least {LEAST_CASES} cases, 10 to 5,000 cells for each, and one case that is open.")
        if 2 * self.open_cases > self.cases - PATTERNS:
            raise Refused("At most half of the cases can be open: make more cases, or leave fewer open.")

    @property
    def decisions(self) -> int:
        """How many cells of a case have a decision."""
        return self.cells // 10

    @property
    def patients(self) -> int:
        """How many persons there are: four cases for each, and of one sex, as the differentials repeat."""
        return max(PATTERNS, self.cases // 8 * 2)

    def is_open(self, number: int) -> bool:
        """Say whether a case waits: every second one of the newest."""
        left = self.cases - number
        return left <= 2 * self.open_cases and left % 2 == 1

    @cached_property
    def codes(self) -> list[list[str]]:
        """The types of the cells of each pattern."""
        drawn = []
        for pattern in range(PATTERNS + 1):
            weights = GRAVE if pattern == PATTERNS else ORDINARY
            drawn.append(random.Random(f"{self.seed} {pattern}").choices([*weights], [*weights.values()], k=self.cells))  # noqa: S311
        return drawn

    def codes_of(self, number: int) -> list[str]:
        """Return the types of the cells of a case."""
        return self.codes[PATTERNS if self.is_open(number) and number % 20 == 1 else number % PATTERNS]


def fill(plan: Plan) -> None:
    """Make all of it. Before: PostgreSQL without a case; every thousand cases are one transaction."""
    if connection.vendor != "postgresql":
        raise Refused("Only a PostgreSQL can be filled: set DATABASE_URL.")
    if Case.objects.exists():
        raise Refused("This database holds cases already: fill an empty one.")
    with transaction.atomic():
        seeding = _Seeding(plan)
        seeding.patients()
    for start, end in _parts(plan.cases):
        with transaction.atomic():
            seeding.cases(range(start, end))
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), _MODELS):
            cursor.execute(statement)
        cursor.execute("VACUUM (ANALYZE)")  # as the database does by itself soon after so many new rows
    work_out_flags(most=plan.cases)


_MODELS: list[type[models.Model]] = [
    Patient, Case, Slide, SlideImage, Run, ImageResult, Cell, Decision, HandOver, Report,
]  # fmt: skip


def _parts(cases: int) -> Iterator[tuple[int, int]]:
    """The first part holds each pattern once: the others are copies of it."""
    starts = [0, *range(PATTERNS, cases, CASES_AT_ONCE)]
    return zip(starts, [*starts[1:], cases])


def _copy(model: type[models.Model], rows: Iterable[Any]) -> None:
    """Write rows with all their columns; the database gives an event its id and hash."""
    fields = [field for field in model._meta.concrete_fields if model is not Event or field.name != "id"]
    columns = [(field.attname, isinstance(field, models.JSONField)) for field in fields]
    names = ", ".join(f'"{field.column}"' for field in fields)
    with connection.cursor() as cursor, cursor.copy(f'COPY "{model._meta.db_table}" ({names}) FROM STDIN') as copy:
        for row in rows:
            copy.write_row([
                json.dumps(getattr(row, name)) if is_json and getattr(row, name) is not None else getattr(row, name)
                for name, is_json in columns
            ])  # fmt: skip


class _Seeding:
    """The people and the first cases of a plan, and what was signed last."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.begins_at = timezone.now().replace(microsecond=0) - plan.cases * EVERY
        self.laboratory = Laboratory.objects.get_or_create(name=LABORATORY)[0]
        self.technologist, self.pathologist, _ = (self._person(r) for r in ("technologist", "pathologist", "admin"))
        save_policy(self.laboratory, Rules(least_verified=10.0), reason="Seeded cases.", by=self.pathologist)
        self.detector = active_detector()
        self.signature = signature_of(self.pathologist, MEANINGS_WITHOUT_REVIEW[0], timezone.now())
        self.contents: list[Content] = []
        self.stored: list[Stored] = []
        self.sequence, self.seal = 0, FIRST

    def _person(self, role: str) -> User:
        person = User(
            username=f"seeded-{role}", role=role, laboratory=self.laboratory, first_name="Seeded",
            last_name=role.title(), statement_accepted_at=timezone.now(),
        )  # fmt: skip
        person.set_unusable_password()
        person.save()
        return person

    def patients(self) -> None:
        """Write all persons."""
        _copy(Patient, (self._patient(number) for number in range(self.plan.patients)))

    def _patient(self, number: int) -> Patient:
        drawn = random.Random(f"{self.plan.seed} person {number}")  # noqa: S311  no secret
        name = " ".join("".join(drawn.choices(SYLLABLES, k=3)).title() for _ in range(2))
        return Patient(
            pk=number + 1, laboratory=self.laboratory, mrn=f"M{number:07}", name=name, name_key=search_key(name),
            sex="FM"[number % 2], birth_date=date(1940, 1, 1) + timedelta(days=drawn.randrange(15_000)),
        )  # fmt: skip

    def cases(self, numbers: range) -> None:
        """Write some cases with all that belongs to them; the first part also makes what the others are copies of."""
        signed = [number for number in numbers if not self.plan.is_open(number)]
        _copy(Case, map(self._case, numbers))
        for model, rows_of in _OF_SLIDES.items():
            _copy(model, (row for number in numbers for row in rows_of(self, number)))
        _copy(Cell, (cell for number in numbers for cell in self._cells(number)))
        _copy(Decision, (decision for number in numbers for decision in self._decisions(number)))
        _copy(HandOver, (self._hand_over(n) for n in numbers if self.plan.is_open(n) and n % 4 == 1))
        if not self.contents:
            self._work_out(signed)
        reports = {number: self._report(number) for number in signed}
        _copy(Report, reports.values())
        _copy(Event, (event for number in numbers for event in self._events(number, reports.get(number))))

    def _work_out(self, numbers: list[int]) -> None:
        cases = Case.objects.select_related("patient", "laboratory", "registered_by").order_by("pk")
        cases = list(cases.filter(pk__in=[number + 1 for number in numbers]))
        stored = flags_now(cases)
        for case in cases:
            self.contents.append(content_of(Report(case=case, created_by=self.pathologist)))
            self.stored.append(stored[case.pk])
            level, flags, glance = stored[case.pk]
            Case.objects.filter(pk=case.pk).update(flag_level=level, flags=flags, glance=glance)

    def at(self, number: int, minutes: int = 0) -> datetime:
        """When a case was received, or what happened some minutes later."""
        return self.begins_at + number * EVERY + timedelta(minutes=minutes)

    def _case(self, number: int) -> Case:
        received_at = self.at(number)
        is_stored = self.stored and not self.plan.is_open(number)
        level, flags, glance = self.stored[number % PATTERNS] if is_stored else (None, [], {})
        return Case(
            pk=number + 1, laboratory=self.laboratory, patient_id=number % self.plan.patients + 1,
            accession_number=f"S{number:07}", priority="stat" if number % 10 == 7 else "routine",
            received_at=received_at, collected_at=received_at - timedelta(minutes=30), registered_by=self.technologist,
            registered_at=received_at, wbc=Decimal("6.400"), wbc_unit=Case.WbcUnit.GIGA_PER_L, wbc_source="invented",
            wbc_at=received_at, flag_level=level, flags=flags, glance=glance,
        )  # fmt: skip

    def _slides(self, number: int) -> Iterator[Slide]:
        for key, place in _keys(number):
            yield Slide(pk=key, case_id=number + 1, label=str(place + 1), uploaded_by=self.technologist,
                        uploaded_at=self.at(number, 10))  # fmt: skip

    def _images(self, number: int) -> Iterator[SlideImage]:
        for key, _ in _keys(number):
            yield SlideImage(pk=key, slide_id=key, position=0, name="field.png", sha256=self._sha256(key), format="PNG",
                             size_bytes=1, width_px=SIZE_PX, height_px=SIZE_PX)  # fmt: skip

    def _runs(self, number: int) -> Iterator[Run]:
        begun, done = self.at(number, 11), self.at(number, 12)
        for key, _ in _keys(number):
            yield Run(pk=key, slide_id=key, detector=self.detector, state=Run.State.DONE, attempt=1, queued_at=begun,
                      sent_at=begun, started_at=begun, finished_at=done, images_done=1, megapixels=9.0)  # fmt: skip

    def _results(self, number: int) -> Iterator[ImageResult]:
        for key, _ in _keys(number):
            yield ImageResult(pk=key, run_id=key, image_id=key, um_per_px=0.2, scale_method="uploader")

    def _cells(self, number: int) -> Iterator[Cell]:
        cells, added_at = self.plan.cells, self.at(number, 12)
        across = int(cells**0.5) + 1
        for place, code in enumerate(self.plan.codes_of(number)):
            slide = SLIDES * number + 1 + place * SLIDES // cells
            x, y = place % across * (SIZE_PX // across), place // across * (SIZE_PX // across)
            yield Cell(pk=cells * number + 1 + place, run_id=slide, image_id=slide, detector_code=code, score=0.9,
                       chances=[[code, 0.9], ["NGS" if code == "LYT" else "LYT", 0.1]], x1=x, y1=y, x2=x + 60.0,
                       y2=y + 60.0, added_at=added_at)  # fmt: skip

    def _decisions(self, number: int) -> Iterator[Decision]:
        codes, at = self.plan.codes_of(number), self.at(number, 30)
        for place in range(self.plan.decisions):
            yield Decision(
                pk=self.plan.decisions * number + 1 + place, cell_id=self.plan.cells * number + 1 + place,
                from_code=codes[place], to_code=codes[place], decided_by=self.pathologist, decided_at=at,
            )  # fmt: skip

    def _hand_over(self, number: int) -> HandOver:
        return HandOver(pk=number + 1, case_id=number + 1, handed_over_by=self.technologist,
                        handed_over_at=self.at(number, 40))  # fmt: skip

    def _report(self, number: int) -> Report:
        self.sequence += 1
        content, at = self._content(number), self.at(number, 60)
        previous, self.seal = self.seal, seal_of(content, sequence=self.sequence, previous_seal=self.seal)
        return Report(
            pk=self.sequence, case_id=number + 1, state=Report.State.SIGNED, created_by=self.pathologist, created_at=at,
            signed_by=self.pathologist, signed_at=at, signature_meaning=self.signature["meaning"],
            sequence=self.sequence, content=content, seal=self.seal, previous_seal=previous,
        )  # fmt: skip

    def _content(self, number: int) -> Content:
        """Return the content of the first case of the pattern with this case's own keys, person and times."""
        like, first, plan = self.contents[number % PATTERNS], number % PATTERNS, self.plan
        slides, cells = SLIDES * (number - first), plan.cells * (number - first)
        decisions, decided = plan.decisions * (number - first), sealed_time(self.at(number, 30))
        signed = timezone.localtime(self.at(number, 60)).isoformat(timespec="seconds")
        case, patient = self._case(number), self._patient(number % plan.patients)
        born, received = patient.birth_date, sealed_time(case.received_at)
        content: dict[str, Any] = {
            **like,
            "patient": {**like["patient"], "name": patient.name, "mrn": patient.mrn, "birth_date": born.isoformat(),
                        "age": age_part(age_at(born, timezone.localtime(case.collected_at).date()))},
            "specimen": {**like["specimen"], "accession_number": case.accession_number, "priority": case.priority,
                         "received_at": received, "registered_at": received,
                         "collected_at": sealed_time(case.collected_at),
                         "wbc": {**(like["specimen"]["wbc"] or {}), "at": case.wbc_at.isoformat()}},
            "report": {**like["report"], "id": self.sequence},
            "previous": self._previous(number - plan.patients),
            "detectors": [{**of, "slide": of["slide"] + slides, "finished_at": sealed_time(self.at(number, 12))}
                          for of in like["detectors"]],
            "images": [{**image, "id": image["id"] + slides, "slide": image["slide"] + slides,
                        "sha256": self._sha256(image["id"] + slides), "uploaded_at": sealed_time(self.at(number, 10))}
                       for image in like["images"]],
            "cells": [{**cell, "id": cell["id"] + cells, "image": cell["image"] + slides,
                       "decisions": [{**d, "id": d["id"] + decisions, "at": decided} for d in cell["decisions"]]}
                      for cell in like["cells"]],
            "pictures": [key + cells for key in like["pictures"]],
            "signature": {**self.signature, "signed_at": signed},
        }  # fmt: skip
        return cast(Content, content)

    def _previous(self, number: int) -> dict[str, Any] | None:
        """The result of the person's case before, as a report prints it."""
        if number < 0:
            return None
        figures = self.contents[number % PATTERNS]["differential"]
        rows = [*figures["rows"], *figures["groups"].values()]
        return {
            "accession_number": f"S{number:07}",
            "received_at": sealed_time(self.at(number)),
            "figures": {row["key"]: {name: row[name] for name in ("percent", "low", "high")} for row in rows},
        }

    def _events(self, number: int, report: Report | None) -> Iterator[Event]:
        case = Case(pk=number + 1, laboratory=self.laboratory)
        yield event_of("case.register", at=self.at(number), actor=self.technologist, obj=case, case=case)
        for key, _ in _keys(number):
            yield event_of("slide.submit", at=self.at(number, 10), actor=self.technologist, obj=Slide(pk=key),
                           case=case, changes={"images": 1})  # fmt: skip
        yield event_of("cell.confirm", at=self.at(number, 30), actor=self.pathologist, obj=case, case=case,
                       changes={"count": self.plan.decisions})  # fmt: skip
        if report:
            changes = {"version": 1, "meaning": report.signature_meaning, "seal": report.seal}
            yield event_of("report.sign", at=self.at(number, 60), actor=self.pathologist, obj=report, case=case,
                           changes=changes)  # fmt: skip

    def _sha256(self, key: int) -> str:
        return f"{self.plan.seed:08x}{key:056x}"


_OF_SLIDES = {
    Slide: _Seeding._slides, SlideImage: _Seeding._images, Run: _Seeding._runs, ImageResult: _Seeding._results,
}  # fmt: skip


def _keys(number: int) -> Iterator[tuple[int, int]]:
    """Key and place of each slide of a case; image, run and result of a slide have its key."""
    return ((SLIDES * number + 1 + place, place) for place in range(SLIDES))
