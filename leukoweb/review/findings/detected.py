"""What the detector's count of red cells and platelets shows beside the findings, and how a person accepts it.

It is help: nothing here changes a report. What a person accepts becomes a finding of that person, whose note says
where it came from.
"""

from dataclasses import dataclass

from django.utils.translation import gettext

from detection.cell_types import PLATELET
from leukoweb.accounts.models import Laboratory, User
from leukoweb.analysis.film import ask_counts, film_card, send_waiting
from leukoweb.analysis.models import FilmCount, FilmImage, Run
from leukoweb.cases.models import Case, CbcResult
from leukoweb.refusals import Refused
from leukoweb.review.counting.elements import Elements, Measured, difference, estimate, per_field, per_thousand
from leukoweb.review.counting.policies import Rules
from leukoweb.review.findings.marking import MOST_NOTE, Mark, mark_findings
from leukoweb.review.findings.state import current_findings
from leukoweb.review.findings.table import ITEMS
from leukoweb.review.models import Finding
from leukoweb.review.services import current_policy, rules_of

ADEQUACY = "platelet_adequacy"
MOST_CLUMPS = 12  # pictures


@dataclass(frozen=True)
class ShownClump:
    """One clump: its image and number there, how many platelets, and where it is."""

    image: FilmImage
    number: int
    platelets: int


@dataclass(frozen=True)
class Detected:
    """What is shown of a case: `waiting` slides are still to be counted, `failed` say why they were not."""

    rules: Rules
    elements: Elements
    detector: str
    field: Measured | None
    thousand: Measured | None
    estimate: Measured | None
    clumps: list[ShownClump]
    more_clumps: int
    waiting: int
    failed: list[str]
    analyser: float | None
    differs: str
    accepted: Finding | None
    tests: list[dict[str, str | int]]

    @property
    def is_counted(self) -> bool:
        """Whether there is a figure to show."""
        return self.elements.images > 0

    @property
    def accepted_words(self) -> str:
        """What a person marked, in the words of the report."""
        return ITEMS[ADEQUACY].values[self.accepted.value] if self.accepted else ""


def ask_for_counts() -> None:
    """Ask for the counts of the laboratories that want them, and enqueue those that wait."""
    for laboratory in Laboratory.objects.filter(is_active=True):
        if is_wanted(laboratory):
            cases = Case.objects.filter(laboratory=laboratory, rejected_at=None).exclude(reports__state="signed")
            ask_counts(Run.objects.filter(slide__case__in=cases))
    send_waiting()


def is_wanted(laboratory: Laboratory | int) -> bool:
    """Whether a laboratory has switched the count on."""
    return rules_of(current_policy(laboratory)).film_by_detector


def detected_of(case: Case, rules: Rules | None = None) -> Detected | None:
    """Return what is shown of a case; None where its laboratory does not want it or nothing was asked for."""
    rules = rules or rules_of(current_policy(case.laboratory_id))
    if not rules.film_by_detector:
        return None
    counts = FilmCount.objects.filter(run__slide__case=case, run__is_shadow=False, run__slide__set_aside_at=None)
    if not counts:
        return None
    images = list(
        FilmImage.objects.counted()
        .filter(count__in=counts)
        .defer("boxes")
        .select_related("image__slide")
        .order_by("pk")
    )
    areas = [own.area_um2 / 1e6 for own in images]
    elements = Elements(
        sum(own.red_cells for own in images), sum(own.platelets for own in images), sum(areas), len(images),
        min(areas, default=0.0),
    )  # fmt: skip
    clumps = [ShownClump(own, n, clump[0]) for own in images for n, clump in enumerate(own.clumps)]
    clumps.sort(key=lambda clump: -clump.platelets)
    by_factor, analyser = estimate(elements, rules), analyser_platelets(case)
    differs = difference(by_factor, analyser, rules.platelet_tolerance) if by_factor and analyser is not None else ""
    tests = film_card().type_card(PLATELET).tests.items()
    return Detected(
        rules, elements, next((own.detector for own in counts if own.detector), ""),
        per_field(elements, rules.platelet_field_mm2), per_thousand(elements), by_factor,
        clumps[:MOST_CLUMPS], max(0, len(clumps) - MOST_CLUMPS),
        sum(own.state in (FilmCount.State.QUEUED, FilmCount.State.RUNNING) for own in counts),
        sorted({own.error for own in counts if own.state == FilmCount.State.FAILED}),
        analyser, differs,
        current_findings(case).get(ADEQUACY),
        [{"name": name, "recall": round(100 * test.recall[0]), "precision": round(100 * test.precision[0])}
         for name, test in tests],
    )  # fmt: skip


def analyser_platelets(case: Case) -> float | None:
    """Return the analyser's platelets in 10^9/L, of the run that is reported; None without a number."""
    result = CbcResult.objects.filter(case=case).first()
    return result.amounts().get("PLT") if result else None


def accept(case: Case, value: str, *, by: User) -> list[Finding]:
    """Mark the platelets of the film as a person sees them, with the detector's figure and its origin as the note.

    Before: as `mark_findings`, and there is a figure.
    """
    shown = detected_of(case)
    if shown is None or not shown.is_counted:
        raise Refused(gettext("The detector has counted no red cells and platelets of this case."), code="wrong_state")
    return mark_findings(case, [Mark(ADEQUACY, value, note=origin_of(shown)[:MOST_NOTE])], by=by)


def origin_of(shown: Detected) -> str:
    """Return where an accepted figure comes from, as it is stored with the finding and printed: in English."""
    found = f"{shown.elements.platelets:,} platelets and {shown.elements.red_cells:,} red cells by {shown.detector}"
    if shown.estimate:
        figure = f"about {_span(shown.estimate)} × 10⁹/L by factor {shown.rules.platelet_factor:g}"
    elif shown.thousand:
        figure = f"{_span(shown.thousand)} per 1,000 red cells"
    else:
        return f"{found}, accepted by a person"
    return f"{figure}; {found}, accepted by a person"


def _span(figure: Measured) -> str:
    return f"{figure.value:.0f} (95 % interval {figure.low:.0f} to {figure.high:.0f})"
