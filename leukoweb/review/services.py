"""What a case's cells add up to under the laboratory's policy; doors that change a report stand in signing.py."""

from collections import Counter

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q

from detection.cell_types import BLASTS, NOT_A_CELL, PROMYELOCYTES
from leukoweb.accounts.models import Laboratory
from leukoweb.analysis.models import Cell
from leukoweb.audit.services import record
from leukoweb.cases.models import Case
from leukoweb.refusals import Refused
from leukoweb.review.cells.decisions import current_cells
from leukoweb.review.counting.differential import Differential, Wbc, count_differential, wbc_from
from leukoweb.review.counting.flags import flags_of
from leukoweb.review.counting.policies import Rules, rules_from
from leukoweb.review.models import Phrase, Policy, Report, with_labels
from leukoweb.review.reports.verification import Verification, cells_needed


def current_policy(laboratory) -> Policy | None:
    """The laboratory's newest policy, or None while it uses the defaults."""
    return Policy.objects.filter(laboratory=laboratory).order_by("-version").first()


def rules_of(policy: Policy | None) -> Rules:
    """The rules of a stored policy; the defaults when there is none."""
    return rules_from(policy.rules) if policy else Rules()


def label_counts(case) -> Counter:
    """How many cells of a case carry each label, UNI and NOT among them; cells that no longer have one are left out."""
    rows = current_cells(case).order_by().values("code").annotate(cells=Count("pk"))
    return Counter({row["code"]: row["cells"] for row in rows if row["code"]})


def differential_of(case, policy: Policy | None = None, counts=None) -> Differential:
    """The differential of a case under the laboratory's newest policy, or under another one."""
    rules = rules_of(policy or current_policy(case.laboratory))
    counts = label_counts(case) if counts is None else counts
    return count_differential(counts, rules, wbc=wbc_of(case), age_years=age_years(case), sex=case.patient.sex)


def verification_now(case, rules: Rules) -> Verification:
    """How many of a case's counted cells a person verified; who did is read from a report's content."""
    counted = current_cells(case).order_by().exclude(code__in=("", NOT_A_CELL))
    cells = counted.count()
    verified = counted.exclude(decided_code="").count()
    return {
        "counted": cells,
        "verified": verified,
        "needed": cells_needed(cells, rules.least_verified),
        "by": [],
    }


def previous_result(case) -> dict | None:
    """The last signed differential of the same person before this specimen, as far as a comparison needs it."""
    earlier = Report.objects.filter(
        case__patient=case.patient_id, case__received_at__lt=case.received_at, state=Report.State.SIGNED
    ).exclude(case=case)
    report = earlier.order_by("-case__received_at", "-version").first()
    if report is None:
        return None
    figures = report.content["differential"]
    rows = [*figures["rows"], *figures["groups"].values()]
    return {
        "accession_number": report.content["specimen"]["accession_number"],
        "received_at": report.content["specimen"]["received_at"],
        "figures": {row["key"]: {name: row[name] for name in ("percent", "low", "high")} for row in rows},
    }


def last_signed(case) -> Report | None:
    """The report that is in force."""
    return Report.objects.filter(case=case, state=Report.State.SIGNED).order_by("-version").first()


def signed_cells(report) -> list[tuple[int, str, list[float]]]:
    """(image, code, box xyxy px) of the cells that were signed; what an open amendment changes is not among them."""
    return [(cell["image"], cell["code"], cell["box_xyxy_px"]) for cell in report.content["cells"] if cell["code"]]


def wbc_of(case) -> Wbc | None:
    """The analyser's white cell count as it was registered, or None."""
    if case.wbc is None:
        return None
    return Wbc(float(case.wbc), case.wbc_unit, case.wbc_source, case.wbc_at.isoformat() if case.wbc_at else "")


def age_years(case) -> float | None:
    """The patient's age at collection, else at receipt; None without a birth date."""
    if case.patient.birth_date is None:
        return None
    at = (case.collected_at or case.received_at).date()
    return (at - case.patient.birth_date).days / 365.25


def rederived(content: dict, policy: Policy) -> dict:
    """What the cells of a signed report say under another policy; the report itself stays as it is (C6)."""
    rules = rules_of(policy)
    differential = count_differential(
        content["counts"],
        rules,
        wbc=wbc_from(content["specimen"]["wbc"]),
        age_years=content["patient"]["age_years"],
        sex=content["patient"]["sex"],
    )
    return {
        "differential": differential.as_dict(),
        "rules": rules.as_dict(),
        "sentences": rules.sentences(),
        "flags": flags_of(differential),
    }


def save_policy(laboratory, rules: Rules, *, reason: str, by) -> Policy:
    """Put rules in force as the laboratory's next version; earlier versions stay."""
    with transaction.atomic():
        Laboratory.objects.select_for_update(no_key=True).get(pk=laboratory.pk)
        before = current_policy(laboratory)
        policy = Policy.objects.create(
            laboratory=laboratory,
            version=before.version + 1 if before else 1,
            rules=rules.as_dict(),
            reason=reason,
            created_by=by,
        )
        old, new = rules_of(before).as_dict(), policy.rules
        changed = {name: [old[name], new[name]] for name in new if old[name] != new[name]}
        record("policy.change", actor=by, obj=policy, changes={"version": policy.version, "reason": reason, **changed})
    return policy


def save_phrase(phrase, *, by) -> None:
    """Keep a ready sentence."""
    with transaction.atomic():
        Laboratory.objects.select_for_update(no_key=True).get(pk=phrase.laboratory_id)
        if Phrase.objects.filter(laboratory=phrase.laboratory_id, name=phrase.name).exclude(pk=phrase.pk).exists():
            raise Refused("There is a phrase with this name already. Choose another name.", "name", code="taken")
        phrase.save()
        record("phrase.save", actor=by, obj=phrase, changes={"name": phrase.name, "text": phrase.text})


def delete_phrase(phrase, *, by) -> None:
    """Remove a ready sentence."""
    with transaction.atomic():
        record("phrase.delete", actor=by, obj=phrase, changes={"name": phrase.name, "text": phrase.text})
        phrase.delete()


def open_cases(user):
    """The cases somebody still has to work on, STAT first, then the oldest first."""
    reports = Report.objects.filter(case=OuterRef("pk"))
    is_signed, is_amending = reports.filter(state=Report.State.SIGNED), reports.filter(state=Report.State.DRAFT)
    cases = Case.objects.visible_to(user).filter(rejected_at=None).filter(~Exists(is_signed) | Exists(is_amending))
    return cases.with_state().select_related("patient").order_by("-priority", "received_at", "pk")


def urgent_flags_of(cases) -> dict:
    """The urgent flags of cases of one laboratory, case key to list; counted exactly, in a fixed number of queries."""
    grave = [*BLASTS, *PROMYELOCYTES]
    cells = Cell.objects.counted().filter(run__slide__case__in=[case.pk for case in cases])
    found = cells.filter(Q(detector_code__in=grave) | Q(decisions__to_code__in=grave))
    suspects = set(found.values_list("run__slide__case", flat=True))
    rows = with_labels(cells.filter(run__slide__case__in=suspects)).order_by()
    counts = {}
    for row in rows.values("run__slide__case", "code").annotate(cells=Count("pk")):
        if row["code"]:
            counts.setdefault(row["run__slide__case"], Counter())[row["code"]] = row["cells"]
    rules = rules_of(current_policy(cases[0].laboratory)) if counts else None
    return {
        pk: [flag for flag in flags_of(count_differential(count, rules)) if flag.is_urgent]
        for pk, count in counts.items()
    }
