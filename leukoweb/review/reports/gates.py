"""The checklist before a signature: what stands in the way and what no longer does, in sentences; it signs nothing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.utils.translation import gettext

from detection.cell_types import NOT_A_CELL
from leukoweb.accounts.models import User
from leukoweb.analysis.models import Run
from leukoweb.cases.models import Case
from leukoweb.review.cells.decisions import current_cells, evidence_of
from leukoweb.review.counting.attention import must_look
from leukoweb.review.counting.policies import FOUR_EYES_ALLOWED
from leukoweb.review.criticals.part import is_seen
from leukoweb.review.findings.state import said_of_gate
from leukoweb.review.models import Report
from leukoweb.review.reports.content import content_of
from leukoweb.review.reports.parts import (
    CellPart,
    Content,
    CriticalPart,
    DeltaPart,
    FlagPart,
    SuggestionPart,
    Verification,
)
from leukoweb.review.reports.release import cells_seen_alone, unmet_conditions
from leukoweb.review.services import current_policy, rules_of
from leukoweb.review.studies.reference import unread
from leukoweb.review.suggestions.part import is_outdated
from leukoweb.sentences import translated


@dataclass(frozen=True)
class Gate:
    """One thing that stands in the way of a signature, or no longer does; `codes` are those of the cells to look at."""

    key: str
    sentence: str
    is_met: bool
    codes: tuple[str, ...] = ()


def gates_of(report: Report, content: Content | None = None, *, by: User | None = None) -> list[Gate]:
    """The checklist before a signature, what stands in the way first; with `by` also what depends on who signs."""
    case = report.case
    if content is None:
        content = content_of(report)
    gates = [*_gates_of_cells(case, content), *_gates_of_results(content), *_gates_of_answers(case, content)]
    if by is not None:
        gates += _gates_of_signer(case, content, by)
    return sorted(gates, key=lambda gate: gate.is_met)


def _gates_of_cells(case: Case, content: Content) -> Iterator[Gate]:
    """Every slide is read, and every cell that somebody must look at was looked at."""
    runs = Run.objects.filter(slide__case=case, slide__set_aside_at=None, is_shadow=False)
    states = list(runs.values_list("state", flat=True))
    unread_slides = sum(state != Run.State.DONE for state in states)
    yield _gate(
        "runs", bool(states) and not unread_slides, gettext("The detector has finished every slide."),
        gettext("%(count)s of %(count_2)s slides are not analysed.") % {"count": unread_slides, "count_2": len(states)}
        if states else gettext("No slide was uploaded."),
    )  # fmt: skip
    unidentified, waiting, verification = content["counts"].get("UNI", 0), _must_look(case), content["verification"]
    yield _gate(
        "unidentified", not unidentified, gettext("No cell is unidentified."),
        gettext("%(unidentified)s unidentified cells need a type.") % {"unidentified": unidentified}, ("UNI",),
    )  # fmt: skip
    yield _gate(
        "must_look", not waiting, gettext("Every cell that must be looked at was looked at."),
        gettext("%(count)s cells need review (blasts, unvalidated types, low confidence).") % {"count": len(waiting)},
        tuple(sorted({cell["code"] for cell in content["cells"] if cell["id"] in waiting})),
    )  # fmt: skip
    yield _gate(
        "verified", verification["verified"] >= verification["needed"], *_verified_words(verification),
        _codes_to_verify(content["cells"]),
    )  # fmt: skip


def _gates_of_results(content: Content) -> Iterator[Gate]:
    """What the figures ask of a person is done."""
    report, differential, lya = content["report"], content["differential"], content["counts"].get("LYA", 0)
    is_limited = differential["is_limited"]
    yield _gate(
        "limited_count", bool(report["comment"].strip()) or not is_limited,
        gettext("The count is limited, and a comment says so.") if is_limited
        else gettext("Enough leukocytes were counted."),
        gettext("Only %(total)s leukocytes were counted: a limited count needs a comment.")
        % {"total": differential["total"]},
    )  # fmt: skip
    unseen = [flag for flag in content["flags"] if flag["urgency"] == "urgent" and not flag["acknowledged_at"]]
    yield _gate(
        "urgent_flags", not unseen, gettext("A pathologist has acknowledged every urgent flag."),
        gettext("A pathologist must acknowledge: %(names)s.") % {"names": _titles(unseen)},
    )  # fmt: skip
    unread_criticals = [critical for critical in content.get("criticals", []) if not is_seen(critical, unseen)]
    yield _gate(
        "criticals", not unread_criticals, gettext("A pathologist has acknowledged every critical result."),
        gettext("A pathologist must acknowledge the critical result: %(titles)s.")
        % {"titles": _titles(unread_criticals)},
    )  # fmt: skip
    yield _gate(
        "lya_meaning", not lya or bool(report["lya_meaning"]),
        gettext("Atypical lymphocytes are classified.") if lya else gettext("No atypical lymphocyte was counted."),
        gettext("Classify the atypical lymphocytes as variant or abnormal."),
    )  # fmt: skip
    yield Gate("findings", *said_of_gate(content))
    if mix_ups := [alarm for alarm in content.get("deltas", []) if alarm["is_mix_up"]]:
        unanswered = [alarm for alarm in mix_ups if not alarm["dismissed"]["at"]]
        yield _gate(
            "mix_up", not unanswered, gettext("Every alarm of a possible sample mix-up is answered."),
            gettext("A possible sample mix-up is not answered: %(titles)s. Compare tube, request and earlier result, "
                    "then dismiss the alarm with a reason, or reject the specimen.") % {"titles": _titles(unanswered)},
        )  # fmt: skip


def _gates_of_answers(case: Case, content: Content) -> Iterator[Gate]:
    """What people have begun is finished: a reference count, phrases, the choice of the smudge cells."""
    if left := unread(case):
        unfinished = gettext(
            "The reference count is not finished: %(left)s cells are to be read. Finish it, "
            "or a pathologist cancels it with a reason."
        )
        yield Gate("reference_unfinished", unfinished % {"left": left}, False)
    if suggestions := content.get("suggestions"):
        outdated = [part for part in suggestions if is_outdated(part)]
        yield _gate(
            "suggestions", not outdated, gettext("Every phrase that was taken up is still proposed as it was."),
            gettext("The figures of phrases that you took up have changed: %(titles)s. Answer them again.")
            % {"titles": _titles(outdated)},
        )  # fmt: skip
    if content["report"]["smudge_as_lymphocytes"]:
        yield _gate(
            "smudge_reason", bool(content["report"]["smudge_reason"].strip()),
            gettext("The reason for counting smudge cells as lymphocytes is given."),
            gettext("Give the reason for counting smudge cells as lymphocytes."),
        )  # fmt: skip
    if content["reference"]:
        left = content["reference"]["open"]
        yield _gate(
            "reference", not left, gettext("Every disagreement of the reference count is settled."),
            gettext("%(left)s disagreements of the reference count are not settled.") % {"left": left},
        )  # fmt: skip


def _gates_of_signer(case: Case, content: Content, by: User) -> list[Gate]:
    """The conditions of a technologist's release, and the second person, where the laboratory's rules ask for them."""
    rules = rules_of(current_policy(case.laboratory_id))
    gates = []
    if not by.can("sign_report"):
        unmet = unmet_conditions(case, content, rules)
        missing = "; ".join(f"{condition.label} ({problem})" for condition, problem in unmet.items())
        gates.append(_gate("release", not unmet, gettext("Your laboratory lets a technologist release this film."),
                           gettext("A pathologist must release it. A technologist's release needs: %(missing)s.")
                           % {"missing": missing}))  # fmt: skip
    if rules.four_eyes != FOUR_EYES_ALLOWED:
        alone = cells_seen_alone(content, by, rules)
        gates.append(_gate("four_eyes", not alone, gettext("A second person has verified the cells."),
                           gettext("%(alone)d cells were verified by you alone: another person must verify them or "
                                   "sign.") % {"alone": alone}))  # fmt: skip
    return gates


def _verified_words(verification: Verification) -> tuple[str, str]:
    """The gate in words: met, and unmet."""
    counted, verified, needed = verification["counted"], verification["verified"], verification["needed"]
    values = {"verified": verified, "counted": counted, "needed": needed, "left": needed - verified}
    if needed < counted:
        met = gettext("%(verified)s of %(counted)s counted cells verified; your laboratory's rules ask for %(needed)s.")
        unmet = gettext(
            "%(verified)s of %(counted)s counted cells verified; your laboratory's rules ask for %(needed)s: "
            "%(left)s more to verify."
        )
    else:
        met = gettext("%(verified)s of %(counted)s counted cells verified.")
        unmet = gettext("%(verified)s of %(counted)s counted cells verified: %(left)s more to verify.")
    return met % values, unmet % values


def _codes_to_verify(cells: list[CellPart]) -> tuple[str, ...]:
    """The types of the counted cells whose last decision is none, or was undone."""
    open_cells = (cell for cell in cells if not (cell["decisions"] and cell["decisions"][-1]["to"]))
    return tuple(sorted({cell["code"] for cell in open_cells} - {"", NOT_A_CELL}))


def _titles(parts: Iterable[FlagPart | CriticalPart | DeltaPart | SuggestionPart]) -> str:
    return ", ".join(translated(part["title"]) for part in parts)


def _gate(key: str, is_met: bool, met: str, unmet: str, codes: tuple[str, ...] = ()) -> Gate:
    return Gate(key, met if is_met else unmet, is_met, codes)


def _must_look(case: Case) -> set[int]:
    """The cells that a person must look at before a signature, and nobody has (S10)."""
    cells = current_cells(case).exclude(code="").values_list("pk", "score", "decided_code", "code", named=True)
    return {cell.pk for cell in must_look(cells, evidence_of(case))}
