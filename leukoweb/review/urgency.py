"""What is stored of each open case for the worklist: its flags, whose level puts urgent cases first, and a glance at
its cells (shares, how many are verified, the gravest ones); it shows no page.

Whatever changes cells, WBC, policies or receipts either works the flags out in its own transaction (`keep_flags`) or,
below this room, forgets them there (`Case.objects.forget_flags`); forgotten ones are worked out by the worker, and
until then by whoever reads them, so that no urgent case is ever missed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from leukoweb.accounts.models import User
from leukoweb.analysis.models import Cell
from leukoweb.cases.models import Case
from leukoweb.review.counting.flag_rules import NOTE, REVIEW, URGENT
from leukoweb.review.counting.flags import Flag
from leukoweb.review.criticals.detection import keep_criticals
from leukoweb.review.criticals.models import Critical
from leukoweb.review.history.alarms import keep_alarms
from leukoweb.review.history.models import DeltaAlarm
from leukoweb.review.models import Acknowledgement, Decision, Report, with_labels
from leukoweb.review.services import CaseCount, count_cases, verification_of_count

LEVELS = {NOTE: 1, REVIEW: 2, URGENT: 3}
BATCH = 200
# The types that healthy blood does not hold, the gravest first; UNI are the cells that nobody could type.
GRAVEST = ("MYO", "MOB", "PMB", "PMO", "MYB", "MMZ", "LYA", "UNI", "EBO")
FACES, SAME = 5, 3


class Stored(NamedTuple):
    """What is stored of a case: the highest level, its flags, and a glance at its cells.

    The glance holds `bars` (code and percent, none of zero), `counted`, `verified` and `faces` (key and code of the
    gravest cells).
    """

    level: int
    flags: list[dict[str, Any]]
    glance: dict[str, Any]


def open_cases(cases: QuerySet[Case] | None = None) -> QuerySet[Case]:
    """The cases that somebody still has to work on: neither rejected nor signed, or with an open amendment."""
    is_amended = Exists(Report.objects.filter(case=OuterRef("case"), state=Report.State.DRAFT))
    is_done = Exists(Report.objects.filter(~is_amended, case=OuterRef("pk"), state=Report.State.SIGNED))
    return (Case.objects.all() if cases is None else cases).filter(~is_done, rejected_at=None)


def flags_now(cases: Iterable[Case], counts: Mapping[int, CaseCount] | None = None) -> dict[int, Stored]:
    """Work out what is stored of cases from their cells, in a fixed number of queries."""
    cases = list(cases)
    if not cases:
        return {}
    counts = count_cases(cases, only_flags=True) if counts is None else counts
    receipts = Acknowledgement.objects.filter(case__in=cases, receipt=Acknowledgement.Receipt.PATHOLOGIST)
    seen = set(receipts.values_list("case", "flag"))
    faces = faces_of(cases)
    criticals: dict[int, list[str]] = {}
    for case, title in Critical.objects.filter(case__in=cases).open().values_list("case", "title"):
        criticals.setdefault(case, []).append(title)
    alarms: dict[int, list[tuple[str, bool]]] = {}
    for case, title, is_mix_up in (
        DeltaAlarm.objects.filter(case__in=cases).active().values_list("case", "title", "is_mix_up")
    ):
        alarms.setdefault(case, []).append((title, is_mix_up))
    return {
        pk: Stored(
            *_level_of(
                [(flag, (pk, flag.key) in seen) for flag in count.flags], criticals.get(pk, []), alarms.get(pk, [])
            ),
            _glance_of(count, faces[pk]),
        )
        for pk, count in counts.items()
    }


def faces_of(cases: list[Case], *, most: int = FACES) -> dict[int, list[list[Any]]]:
    """Return key and code of the gravest cells of each case, the surest of a type first; [] where all are ordinary.

    One type fills no more than SAME places while another grave one is there: blasts do not hide promyelocytes.
    """
    found: dict[int, list[tuple[int, float, int, str]]] = {case.pk: [] for case in cases}
    decided = Decision.objects.filter(cell=OuterRef("pk"), to_code__in=GRAVEST)
    candidates = Cell.objects.filter(run__slide__case__in=list(found)).counted()
    candidates = candidates.filter(Q(detector_code__in=GRAVEST) | Exists(decided))
    columns = ("run__slide__case", "pk", "code", "score")
    for case, pk, code, score in with_labels(candidates).order_by().values_list(*columns):
        if code in GRAVEST:
            found[case].append((GRAVEST.index(code), -1.0 if score is None else -score, pk, code))
    chosen = {}
    for case, cells in found.items():
        of_type: Counter[str] = Counter()
        ordered = []
        for cell in sorted(cells):
            of_type[cell[-1]] += 1
            ordered.append((of_type[cell[-1]] > SAME, *cell))
        chosen[case] = [[pk, code] for *_, pk, code in sorted(sorted(ordered)[:most], key=lambda cell: cell[1:])]
    return chosen


def _glance_of(count: CaseCount, faces: list[list[Any]]) -> dict[str, Any]:
    rows = count.differential.rows
    verification = verification_of_count(count)
    return {
        "bars": [[row.key, round(row.percent, 2)] for row in rows if row.percent],
        "counted": verification["counted"],
        "verified": verification["verified"],
        "faces": faces,
    }


def _level_of(
    flags: list[tuple[Flag, bool]], criticals: list[str], alarms: list[tuple[str, bool]]
) -> tuple[int, list[dict[str, Any]]]:
    """Return the highest level; an urgent flag that a pathologist has seen still asks for review, and no more.

    A critical result keeps the case urgent until it is closed, a possible mix-up until it is answered.
    """
    kept: list[dict[str, Any]] = [
        {"key": "critical", "title": f"Critical: {title}", "urgency": URGENT, "is_open": True, "is_machine_only": False}
        for title in criticals
    ]
    kept += [
        {"key": "mix_up" if is_mix_up else "change",
         "title": f"Check the sample: {title}" if is_mix_up else f"Changed: {title}",
         "urgency": URGENT if is_mix_up else REVIEW, "is_open": is_mix_up, "is_machine_only": False}
        for title, is_mix_up in alarms
    ]  # fmt: skip
    kept += [
        {"key": flag.key, "title": flag.title, "urgency": flag.urgency, "is_open": flag.is_urgent and not is_seen,
         "is_machine_only": flag.is_machine_only}
        for flag, is_seen in flags
    ]  # fmt: skip
    levels = [LEVELS[REVIEW if flag.is_urgent and is_seen else flag.urgency] for flag, is_seen in flags]
    levels += [LEVELS[URGENT] for _ in criticals]
    levels += [LEVELS[URGENT if is_mix_up else REVIEW] for _, is_mix_up in alarms]
    return max(levels, default=0), kept


def keep_flags(*cases: Case) -> None:
    """Store the flags of cases as they are now, and what became critical of open ones (S12).

    Call it last before the audit, while the cases are locked.
    """
    rows = Case.objects.select_related("patient__survivor", "laboratory").in_bulk([case.pk for case in cases])
    counts = count_cases(rows.values(), only_flags=True)
    still_open = [rows[pk] for pk in open_cases().filter(pk__in=rows).values_list("pk", flat=True)]
    keep_criticals(still_open, counts)
    keep_alarms(still_open, counts)
    for pk, now in flags_now(rows.values(), counts).items():
        case = rows[pk]
        if Stored(case.flag_level, case.flags, case.glance) != now:
            Case.objects.filter(pk=pk).update(flag_level=now.level, flags=now.flags, glance=now.glance)


def work_out_flags(*, most: int = 5000) -> int:
    """Store the flags of open cases that were forgotten; return of how many."""
    keys = list(open_cases().filter(flag_level=None).order_by("pk").values_list("pk", flat=True)[:most])
    for start in range(0, len(keys), BATCH):
        with transaction.atomic():
            # The lock first: what is counted then is not older than what is written. A case that somebody works on is
            # left for the next time, so that this waits for nobody.
            locked = Case.objects.select_for_update(no_key=True, of=("self",), skip_locked=True).filter(
                pk__in=keys[start : start + BATCH], flag_level=None
            )
            keep_flags(*locked.order_by("pk"))
    return len(keys)


def cases_that_differ() -> list[Case]:
    """The open cases whose stored flags are not those of their cells; forgotten ones are not among them."""
    differ = []
    keys = list(open_cases().exclude(flag_level=None).order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(keys), BATCH):
        cases = Case.objects.select_related("patient").filter(pk__in=keys[start : start + BATCH])
        now = flags_now(cases)
        differ += [case for case in cases if Stored(case.flag_level, case.flags, case.glance) != now[case.pk]]
    return differ


def unstored(cases: QuerySet[Case]) -> dict[int, Stored]:
    """Work out what is stored of those of the cases whose flags were forgotten, without storing it."""
    return flags_now(cases.filter(flag_level=None).select_related("patient"))


def worklist_cases(user: User) -> QuerySet[Case]:
    """The open cases that a person may see; their keys by indexes alone, and then the rows of these few."""
    return Case.objects.filter(pk__in=open_cases(Case.objects.visible_to(user)).values("pk"))
