"""The page of patient records that are merged, or proposed to be; what a merge does stands in merging.py."""

from django.contrib import messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from leukoweb.accounts.access import requires
from leukoweb.answers import refusal_shown
from leukoweb.audit.services import record
from leukoweb.cases import merging
from leukoweb.cases.duplicates import duplicates_of, not_same_person
from leukoweb.cases.models import Patient, PatientMerge
from leukoweb.cases.services import patient_with_mrn

MOST = 200


@requires("propose_merge")
@require_GET
def merge_list(request: HttpRequest) -> HttpResponse:
    """What waits for a second person, and what was decided, newest first."""
    merges = PatientMerge.objects.visible_to(request.user).select_related(
        "kept", "ended", "proposed_by", "approved_by", "declined_by", "undo_proposed_by", "undone_by"
    )
    shown = list(merges.annotate(kept_cases=Count("kept__cases", distinct=True),
                                 ended_cases=Count("ended__cases", distinct=True))[:MOST])  # fmt: skip
    record("merge.read", actor=request.user, laboratory=request.user.laboratory, changes={"shown": len(shown)})
    waiting = [merge for merge in shown if merge.waits_for]
    return render(
        request, "cases/merge_list.html",
        {
            "waiting": waiting, "decided": [merge for merge in shown if not merge.waits_for],
            "pairs": duplicates_of(request.user.laboratory) if request.user.can("approve_merge") else [],
        },
    )  # fmt: skip


@requires("propose_merge")
@require_POST
def merge_propose(request: HttpRequest) -> HttpResponse:
    """Propose to merge two records, named by their numbers."""
    with refusal_shown(request):
        kept, ended = (_record(request, name) for name in ("kept", "ended"))
        reason = request.POST.get("reason", "")
        merging.propose_merge(kept=kept, ended=ended, by=request.user, reason=reason)
        messages.success(request, _("Proposed: another person approves it."))
    return redirect("merge_list")


@requires("approve_merge")
@require_POST
def merge_two_persons(request: HttpRequest) -> HttpResponse:
    """Remember that two records are of two persons."""
    with refusal_shown(request):
        kept, ended = (_record(request, name) for name in ("kept", "ended"))
        not_same_person(kept, ended, by=request.user, reason=request.POST.get("reason", ""))
        messages.success(request, _("Remembered: these are two persons."))
    return redirect("merge_list")


def _record(request: HttpRequest, name: str) -> Patient:
    return patient_with_mrn(request.POST.get(name, ""), by=request.user, field=name)


@requires("propose_merge")
@require_POST
def merge_decide(request: HttpRequest, pk: int) -> HttpResponse:
    """Approve or decline a merge, propose to undo it, approve or decline that."""
    merge = get_object_or_404(PatientMerge.objects.visible_to(request.user), pk=pk)
    act, reason = (request.POST.get(name, "") for name in ("act", "reason"))
    with refusal_shown(request):
        done = merging.decide(merge, act=act, by=request.user, reason=reason)
        messages.success(request, _("%(ended)s: %(state)s.") % {"ended": done.ended.mrn, "state": done.state_name})
    return redirect("merge_list")
