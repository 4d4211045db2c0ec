"""What a case's cells add up to under its laboratory's policy; what changes a report is in signing.py."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Count, F, FloatField, Min, Sum, prefetch_related_objects
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext

from detection.cell_types import NOT_A_CELL
from leukoweb.accounts.models import Laboratory, User
from leukoweb.accounts.time_zone import zone_of
from leukoweb.analysis.models import Cell, ImageResult, Run
from leukoweb.audit.services import differing, record
from leukoweb.cases.models import Case, Patient
from leukoweb.cases.wbc import refusal_of, warnings_of
from leukoweb.refusals import Refused
from leukoweb.review.counting.ages import Age, age_at
from leukoweb.review.counting.differential import Differential, Wbc, count_differential
from leukoweb.review.counting.film import LEAST_FIELD_MM2, contradiction_of
from leukoweb.review.counting.flags import Flag, Sentence, flags_of, sentences_of, unfinished_sentence
from leukoweb.review.counting.parts import DifferentialPart, PreviousPart
from leukoweb.review.counting.policies import Rules, rules_from
from leukoweb.review.counting.stored import counted_again
from leukoweb.review.models import Phrase, Policy, Report, with_labels
from leukoweb.review.reports.parts import Content, Verification
from leukoweb.review.reports.verification import cells_needed


def current_policy(laboratory: Laboratory | int) -> Policy | None:
    """The laboratory's newest policy, or None while it uses the defaults."""
    return Policy.objects.filter(laboratory=laboratory).order_by("-version").first()


def rules_of(policy: Policy | None) -> Rules:
    """The rules of a stored policy; the defaults when there is none."""
    return rules_from(policy.rules) if policy else Rules()


@dataclass(frozen=True)
class CaseCount:
    """What the cells of one case add up to now.

    `counts` are all labels, UNI and NOT among them, `confirmed` those that a person gave; `lya_meaning` is what
    the newest version of the report says of atypical lymphocytes.
    """

    counts: Counter[str]
    confirmed: Counter[str]
    differential: Differential
    flags: list[Flag]
    sentences: list[Sentence]
    warnings: list[Sentence]
    lya_meaning: str = ""


def count_case(case: Case, policy: Policy | None = None, *, cells: Iterable[Any] | None = None) -> CaseCount:
    """Count one case by its laboratory's newest policy, or by another one.

    `cells` are all its labelled cells where they were read already, with `code` and `decided_code`.
    """
    if cells is None:
        return count_cases([case], policy)[case.pk]
    numbers = Counter((cell.code, bool(cell.decided_code)) for cell in cells if cell.code)
    labels = [(code, is_confirmed, number) for (code, is_confirmed), number in numbers.items()]
    return count_cases([case], policy, labels={case.pk: labels})[case.pk]


def count_cases(
    cases: Iterable[Case],
    policy: Policy | None = None,
    *,
    only_flags: bool = False,
    labels: Mapping[int, list[tuple[str, bool, int]]] | None = None,
) -> dict[int, CaseCount]:
    """Count cases, each by its own laboratory's newest policy, age, sex, WBC and choices of the signer.

    The number of queries does not depend on the number of cases; their patients should be loaded. `only_flags` leaves
    out what sentences and warnings alone need: runs of slides, and areas of film.
    """
    cases = list(cases)
    prefetch_related_objects(cases, "laboratory")
    labels = _labels_of(cases) if labels is None else labels
    choices = _choices_of(cases)
    areas = {} if only_flags else _film_areas(cases)
    slides = {} if only_flags else _slides_of(cases)
    rules = {key: rules_of(policy or current_policy(key)) for key in {case.laboratory_id for case in cases}}
    return {
        case.pk: _counted(
            case,
            labels[case.pk],
            rules[case.laboratory_id],
            choices.get(case.pk),
            areas.get(case.pk),
            slides.get(case.pk, []),
        )
        for case in cases
    }


def _counted(
    case: Case,
    labels: list[tuple[str, bool, int]],
    rules: Rules,
    choices: tuple[str, bool] | None,
    area_mm2: float | None,
    slides: Sequence[Run],
) -> CaseCount:
    counts: Counter[str] = Counter()
    confirmed: Counter[str] = Counter()
    for code, is_confirmed, number in labels:
        counts[code] += number
        confirmed[code] += number if is_confirmed else 0
    lya_meaning, smudge_as_lymphocytes = choices or ("", False)
    differential = count_differential(
        counts,
        rules,
        wbc=wbc_of(case),
        age=age_of(case),
        sex=case.patient.person.sex,
        smudge_as_lymphocytes=smudge_as_lymphocytes,
    )
    flags = flags_of(differential, confirmed=confirmed, lya_meaning=lya_meaning)
    warnings = wbc_warnings(case, rules)
    if sentence := contradiction_of(differential, area_mm2):
        warnings.append(Sentence(f"{sentence} Check that both are of one specimen.", sentence))
    sentences = sentences_of(differential)
    warnings += [unlike_sentence(run) for run in slides if run.unlike]
    warnings += [Sentence("", f"{run.slide}: {run.read_of_slides}") for run in slides if run.read_of_slides]
    unread = sum(run.state != Run.State.DONE for run in slides)
    if unfinished := unfinished_sentence(unread, len(slides), is_empty=differential.is_empty):
        sentences = [unfinished, *([] if differential.is_empty else sentences)]
    return CaseCount(counts, confirmed, differential, flags, sentences, warnings, lya_meaning)


def _labels_of(cases: list[Case]) -> dict[int, list[tuple[str, bool, int]]]:
    """(label, whether a person gave it, how many cells) of each case; cells without a label are left out."""
    found: dict[int, list[tuple[str, bool, int]]] = {case.pk: [] for case in cases}
    cells = with_labels(Cell.objects.filter(run__slide__case__in=list(found)).counted()).order_by()
    rows = cells.values("run__slide__case", "code", "decided_code").annotate(cells=Count("pk"))
    for row in rows:
        if row["code"]:
            found[row["run__slide__case"]].append((row["code"], bool(row["decided_code"]), row["cells"]))
    return found


def _slides_of(cases: list[Case]) -> dict[int, list[Run]]:
    """The analysis of each slide of each case; slides that were set aside are left out."""
    runs = Run.objects.filter(slide__case__in=[case.pk for case in cases], slide__set_aside_at=None, is_shadow=False)
    found: dict[int, list[Run]] = {case.pk: [] for case in cases}
    for run in (
        runs.select_related("slide")
        .only("state", "unlike", "read_of_slides", "slide__case", "slide__label")
        .order_by("pk")
    ):
        found[run.slide.case_id].append(run)
    return found


def unlike_sentence(run: Run) -> Sentence:
    """Say in what a slide is unlike the images that its detector was tested on."""
    sentence = f"{run.slide} is unlike the images on which the detector was tested: {run.unlike}."
    return Sentence(f"{sentence} Its types count as less proven: review them closely.", sentence)


def _choices_of(cases: list[Case]) -> dict[int, tuple[str, bool]]:
    """What the newest version of each case's report says of atypical lymphocytes and smudge cells."""
    reports = Report.objects.filter(case__in=[case.pk for case in cases]).order_by("version")
    return {pk: (meaning, smudge) for pk, meaning, smudge in
            reports.values_list("case_id", "lya_meaning", "smudge_as_lymphocytes")}  # fmt: skip


def _film_areas(cases: list[Case]) -> dict[int, float]:
    """Square millimetres of film that were read of each case; absent where a picture is too small to tell a density."""
    whole = F("um_per_px") * F("um_per_px") * F("image__width_px") * F("image__height_px") / 1e6
    square_mm = Coalesce("area_mm2", whole, output_field=FloatField())
    results = ImageResult.objects.filter(
        run__is_shadow=False, run__slide__set_aside_at=None, run__slide__case__in=[case.pk for case in cases]
    )
    of_cases = (
        results.order_by()
        .values("run__slide__case")
        .annotate(area=Sum(square_mm, output_field=FloatField()), least=Min(square_mm, output_field=FloatField()))
    )
    return {row["run__slide__case"]: row["area"] for row in of_cases if row["least"] >= LEAST_FIELD_MM2}


def wbc_warnings(case: Case, rules: Rules) -> list[Sentence]:
    """What should be checked about the analyser's count before anybody signs (C14)."""
    if case.wbc is None or not case.wbc_unit:
        return []
    if sentence := refusal_of(case.wbc, case.wbc_unit):  # stored before such values were refused
        return [Sentence(sentence, "The analyser's WBC is implausible.")]
    found = warnings_of(
        case.wbc, case.wbc_unit, case.wbc_at, case.collected_at, case.received_at, most_hours=rules.wbc_hours
    )  # fmt: skip
    return [Sentence(f"{sentence} {to_do}", sentence) for sentence, to_do in found]


def verification_of_count(count: CaseCount) -> Verification:
    """How many of a case's counted cells a person verified; who did is read from a report's content."""
    counted, verified = (of.total() - of[NOT_A_CELL] for of in (count.counts, count.confirmed))
    needed = cells_needed(counted, count.differential.rules.least_verified)
    return {"counted": counted, "verified": verified, "needed": needed, "by": []}


def previous_result(case: Case) -> PreviousPart | None:
    """The last differential in force of the same person before this specimen, as far as a comparison needs it."""
    earlier = (
        Report.objects.in_force()
        .filter(
            case__patient__in=Patient.objects.same_person(case.patient),
            case__received_at__lt=case.received_at,
            case__is_demonstration=case.is_demonstration,
        )
        .exclude(case=case)
    )
    report = earlier.order_by("-case__received_at", "-version").first()
    if report is None:
        return None
    figures: DifferentialPart = report.content["differential"]
    rows = [*figures["rows"], *figures["groups"].values()]
    return {
        "accession_number": report.content["specimen"]["accession_number"],
        "received_at": report.content["specimen"]["received_at"],
        "figures": {
            row["key"]: {"percent": row["percent"], "low": row["low"], "high": row["high"], "absolute": row["absolute"]}
            for row in rows
        },
        "wbc": figures["corrected_wbc"],
    }


def last_signed(case: Case) -> Report:
    """The report that is in force, of a case that has one."""
    return Report.objects.filter(case=case, state=Report.State.SIGNED).latest("version")


def signed_cells(report: Report) -> list[tuple[int, str, list[float]]]:
    """(image, code, box xyxy px) of the cells that were signed; what an open amendment changes is not among them."""
    return [(cell["image"], cell["code"], cell["box_xyxy_px"]) for cell in report.content["cells"] if cell["code"]]


def wbc_of(case: Case) -> Wbc | None:
    """The analyser's white cell count as it was registered, or None."""
    if case.wbc is None:
        return None
    return Wbc(float(case.wbc), case.wbc_unit, case.wbc_source, case.wbc_at.isoformat() if case.wbc_at else "")


def age_of(case: Case) -> Age | None:
    """The patient's age at collection, else at receipt, by the laboratory's calendar; None without a birth date."""
    birth_date = case.patient.person.birth_date
    if birth_date is None:
        return None
    taken_at = timezone.localtime(case.collected_at or case.received_at, zone_of(case.laboratory))
    return age_at(birth_date, taken_at.date())


def rederived(content: Content, policy: Policy) -> tuple[Differential, list[Flag]]:
    """What the cells of a signed report say under another policy; the report itself stays as it is (C6)."""
    differential = counted_again(content, content["counts"], rules_of(policy))
    return differential, flags_of(differential, lya_meaning=content["report"]["lya_meaning"])


def save_policy(laboratory: Laboratory, rules: Rules, *, reason: str, by: User, seen: str | None = None) -> Policy:
    """Put rules in force as the laboratory's next version; earlier versions stay. `seen` is the one that was edited."""
    with transaction.atomic():
        Laboratory.objects.select_for_update(no_key=True).get(pk=laboratory.pk)
        before = current_policy(laboratory)
        refuse_other_version(before.version if before else 0, seen)
        policy = Policy.objects.create(
            laboratory=laboratory,
            version=before.version + 1 if before else 1,
            rules=rules.as_dict(),
            reason=reason,
            created_by=by,
        )
        changed = differing(rules_of(before).as_dict(), policy.rules)
        Case.objects.filter(laboratory=laboratory).forget_flags()
        record("policy.change", actor=by, obj=policy, changes={"version": policy.version, "reason": reason, **changed})
    return policy


def refuse_other_version(version: int, seen: str | None) -> None:
    """Refuse to follow other rules than those that a person began to edit: a new version replaces all of them."""
    if seen not in (None, str(version)):
        raise Refused(
            gettext("Version %(version)s was put in force meanwhile. Load the page again, then enter your change.")
            % {"version": version},
            code="changed_since",
        )


def save_phrase(phrase: Phrase, *, by: User) -> None:
    """Keep a ready sentence."""
    with transaction.atomic():
        Laboratory.objects.select_for_update(no_key=True).get(pk=phrase.laboratory_id)
        if Phrase.objects.filter(laboratory=phrase.laboratory_id, name=phrase.name).exclude(pk=phrase.pk).exists():
            raise Refused(gettext("A phrase with this name already exists. Choose another name."), "name", code="taken")
        phrase.save()
        record("phrase.save", actor=by, obj=phrase, changes={"name": phrase.name, "text": phrase.text})


def delete_phrase(phrase: Phrase, *, by: User) -> None:
    """Remove a ready sentence."""
    with transaction.atomic():
        record("phrase.delete", actor=by, obj=phrase, changes={"name": phrase.name, "text": phrase.text})
        phrase.delete()
