"""Merge two patient records of one person, and undo it: one proposes, another one approves; nothing is rewritten.

A merge is a redirect: the record that ends points to the one that stays, and every case keeps the record that it was
registered under. Undoing it takes the redirect away, and all is as it was.
"""

from collections.abc import Callable
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from leukoweb.accounts.models import Laboratory, User
from leukoweb.audit.services import record
from leukoweb.cases.models import Case, CaseQuerySet, Patient, PatientMerge
from leukoweb.refusals import Refused
from leukoweb.texts import checked_reason


def propose_merge(*, kept: Patient, ended: Patient, by: User, reason: str, origin: str = "") -> PatientMerge:
    """Propose that `ended` is the same person as `kept`; nothing changes until another person approves."""
    _refuse_role(by, "propose_merge")
    reason = checked_reason(reason, _("Enter why both records are of one person."))
    if by.laboratory_id != kept.laboratory_id or by.laboratory_id != ended.laboratory_id:
        raise Refused(_("Records of different laboratories cannot be merged."), code="not_allowed")
    with transaction.atomic():
        _lock(by.laboratory_id)
        _refuse_impossible(kept, ended)
        if PatientMerge.objects.living().filter(ended=ended).exists():
            raise Refused(
                _("A merge of %(mrn)s is already waiting: approve or decline it first.") % {"mrn": ended.mrn},
                code="wrong_state",
            )
        try:
            with transaction.atomic():
                merge = PatientMerge.objects.create(
                    kept=kept, ended=ended, reason=reason, origin=origin[:200], proposed_by=by
                )
        except IntegrityError as error:
            raise Refused(_("A merge of this record was proposed meanwhile."), code="wrong_state") from error
        record("merge.propose", actor=by, obj=merge, laboratory=kept.laboratory,
               changes={"kept": kept.mrn, "ended": ended.mrn, "reason": reason, "origin": origin})  # fmt: skip
    return merge


def approve_merge(merge: PatientMerge, *, by: User) -> PatientMerge:
    """Merge what somebody else proposed. Before: PROPOSED. After: MERGED, open cases show the record that stays."""
    _refuse_role(by, "approve_merge")
    with transaction.atomic():
        merge = _locked(merge, by)
        _refuse_state(merge, PatientMerge.State.PROPOSED)
        _refuse_same_person(merge.proposed_by_id, by)
        _refuse_impossible(merge.kept, merge.ended)
        merge.approved_by, merge.approved_at = by, timezone.now()
        merge.save(update_fields=["approved_by", "approved_at"])
        _settle(merge)
        _record_on_cases("merge.approve", merge, by, {"proposed_by": merge.proposed_by.username})
    return merge


def decline_merge(merge: PatientMerge, *, by: User, reason: str) -> PatientMerge:
    """End a proposal without effect; its proposer may do so, too. Before: PROPOSED. After: DECLINED."""
    _refuse_role(by, "propose_merge")
    reason = checked_reason(reason, _("Enter why the records are not merged."))
    with transaction.atomic():
        merge = _locked(merge, by)
        _refuse_state(merge, PatientMerge.State.PROPOSED)
        if merge.proposed_by_id != by.pk:
            _refuse_role(by, "approve_merge")
        merge.declined_by, merge.declined_at, merge.decline_reason = by, timezone.now(), reason
        merge.save(update_fields=["declined_by", "declined_at", "decline_reason"])
        record("merge.decline", actor=by, obj=merge, laboratory=merge.kept.laboratory, changes={"reason": reason})
    return merge


def propose_undo(merge: PatientMerge, *, by: User, reason: str) -> PatientMerge:
    """Propose to take a merge back; nothing changes until another person approves. Before: MERGED."""
    _refuse_role(by, "propose_merge")
    reason = checked_reason(reason, _("Enter why the merge was wrong."))
    with transaction.atomic():
        merge = _locked(merge, by)
        _refuse_state(merge, PatientMerge.State.MERGED)
        merge.undo_proposed_by, merge.undo_proposed_at, merge.undo_reason = by, timezone.now(), reason
        merge.save(update_fields=["undo_proposed_by", "undo_proposed_at", "undo_reason"])
        record("merge.propose_undo", actor=by, obj=merge, laboratory=merge.kept.laboratory, changes={"reason": reason})
    return merge


def approve_undo(merge: PatientMerge, *, by: User) -> PatientMerge:
    """Take a merge back that somebody else wants undone. Before: UNDO_PROPOSED. After: UNDONE, both as before."""
    _refuse_role(by, "approve_merge")
    with transaction.atomic():
        merge = _locked(merge, by)
        _refuse_state(merge, PatientMerge.State.UNDO_PROPOSED)
        _refuse_same_person(merge.undo_proposed_by_id, by)
        merge.undone_by, merge.undone_at = by, timezone.now()
        merge.save(update_fields=["undone_by", "undone_at"])
        _settle(merge)
        _record_on_cases("merge.undo", merge, by, {"reason": merge.undo_reason})
    return merge


def decline_undo(merge: PatientMerge, *, by: User, reason: str) -> PatientMerge:
    """Keep a merge that somebody wanted undone. Before: UNDO_PROPOSED. After: MERGED."""
    _refuse_role(by, "propose_merge")
    reason = checked_reason(reason, _("Enter why the merge stays."))
    with transaction.atomic():
        merge = _locked(merge, by)
        _refuse_state(merge, PatientMerge.State.UNDO_PROPOSED)
        if merge.undo_proposed_by_id != by.pk:
            _refuse_role(by, "approve_merge")
        merge.undo_proposed_by, merge.undo_proposed_at, merge.undo_reason = None, None, ""
        merge.save(update_fields=["undo_proposed_by", "undo_proposed_at", "undo_reason"])
        record("merge.decline_undo", actor=by, obj=merge, laboratory=merge.kept.laboratory, changes={"reason": reason})
    return merge


ACTS: dict[str, Callable[[PatientMerge, User, str], PatientMerge]] = {
    "approve": lambda merge, by, reason: approve_merge(merge, by=by),
    "decline": lambda merge, by, reason: decline_merge(merge, by=by, reason=reason),
    "propose_undo": lambda merge, by, reason: propose_undo(merge, by=by, reason=reason),
    "approve_undo": lambda merge, by, reason: approve_undo(merge, by=by),
    "decline_undo": lambda merge, by, reason: decline_undo(merge, by=by, reason=reason),
}


def decide(merge: PatientMerge, *, act: str, by: User, reason: str = "") -> PatientMerge:
    """Do one of ACTS with a merge, as a page or a program names it."""
    if act not in ACTS:
        raise Refused(_("Choose what is to be done."))
    return ACTS[act](merge, by, reason)


def _refuse_role(by: User, action: str) -> None:
    if not by.can(action):
        raise Refused(_("Your role cannot do this: an administrator approves."), code="not_allowed")


def _refuse_same_person(proposed_by_id: int | None, by: User) -> None:
    if proposed_by_id == by.pk:
        raise Refused(_("You proposed this yourself: another person must approve it."), code="not_allowed")


def _refuse_state(merge: PatientMerge, state: Any) -> None:
    if merge.state != state:
        raise Refused(_("Somebody decided this meanwhile. Load the page again."), code="wrong_state")


def _refuse_impossible(kept: Patient, ended: Patient) -> None:
    """Refuse a merge of a record with itself, in a circle, or with a record that no longer stands for itself."""
    if kept.pk == ended.pk:
        raise Refused(_("A record cannot be merged with itself."), code="wrong_state")
    into = _redirects(kept.laboratory_id)
    if ended.pk in into:
        raise Refused(
            _("%(mrn)s is merged into another record already: undo that first.") % {"mrn": ended.mrn},
            code="wrong_state",
        )
    if kept.pk in into:
        if _end_of(kept.pk, into) == ended.pk:
            raise Refused(
                _("%(kept)s is merged into %(ended)s: the other way round would be a circle.")
                % {"kept": kept.mrn, "ended": ended.mrn},
                code="wrong_state",
            )
        raise Refused(
            _("%(mrn)s is merged into another record: propose the merge into that one.") % {"mrn": kept.mrn},
            code="wrong_state",
        )


def _lock(laboratory_id: int | None) -> None:
    """Hold the laboratory's row: two decisions on its records never run at once."""
    Laboratory.objects.select_for_update(no_key=True).get(pk=laboratory_id)


def _locked(merge: PatientMerge, by: User) -> PatientMerge:
    _lock(by.laboratory_id)
    merge = PatientMerge.objects.select_related("kept__laboratory", "ended", "proposed_by").get(pk=merge.pk)
    if merge.kept.laboratory_id != by.laboratory_id:
        raise Refused(_("These records belong to another laboratory."), code="not_allowed")
    return merge


def _redirects(laboratory_id: int) -> dict[int, int]:
    """Which record points to which, of the merges in force."""
    merges = PatientMerge.objects.in_force().filter(kept__laboratory=laboratory_id)
    return dict(merges.values_list("ended", "kept"))


def _end_of(pk: int, into: dict[int, int]) -> int:
    while pk in into:
        pk = into[pk]
    return pk


def _settle(merge: PatientMerge) -> None:
    """Point each record of the laboratory to the one that stands for its person, and forget the flags it shapes."""
    into = _redirects(merge.kept.laboratory_id)
    pointing = Patient.objects.filter(laboratory=merge.kept.laboratory_id, survivor__isnull=False)
    for pk, now in {**dict.fromkeys(into), **dict(pointing.values_list("pk", "survivor"))}.items():
        end = _end_of(pk, into)
        survivor = None if end == pk else end
        if survivor != now:
            Patient.objects.filter(pk=pk).update(survivor=survivor)
    _cases_of(merge).forget_flags()


def _cases_of(merge: PatientMerge) -> CaseQuerySet:
    """Every case of the person, or of both."""
    both = Patient.objects.filter(pk__in=[merge.kept_id, merge.ended_id])
    ends = {patient.survivor_id or patient.pk for patient in both}
    return Case.objects.filter(Q(patient__in=ends) | Q(patient__survivor__in=ends))


def _record_on_cases(action: str, merge: PatientMerge, by: User, more: dict[str, str]) -> None:
    """Write the decision once for itself and once in the history of each case that shows another person now."""
    changes = {"kept": merge.kept.mrn, "ended": merge.ended.mrn, **more}
    record(action, actor=by, obj=merge, laboratory=merge.kept.laboratory, changes=changes)
    for case in _cases_of(merge).order_by("pk"):
        record(action, actor=by, obj=merge, case=case, changes=changes)
