"""Pages on which an administrator writes the laboratory's rules and phrases; versions are followed, never edited."""

from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.forms import BaseFormSet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_POST

from leukoweb.accounts.access import requires
from leukoweb.accounts.models import Laboratory
from leukoweb.refusals import Refused
from leukoweb.review import services
from leukoweb.review.counting.policies import Rules, rules_from
from leukoweb.review.counting.review_rules import ReviewRule
from leukoweb.review.counting.review_rules_offered import OFFERED, SOURCE
from leukoweb.review.criticals.models import CriticalPolicy
from leukoweb.review.film_reasons import LOOK_BACK, met_lately
from leukoweb.review.forms import (
    DeltaRuleFormSet,
    FlagRuleFormSet,
    PhraseForm,
    RangeFormSet,
    ReasonForm,
    ReviewRuleFormSet,
    RulesForm,
    SuggestionRuleFormSet,
    lines_of,
)
from leukoweb.review.models import Phrase, Policy
from leukoweb.review.reports.seal import differences
from leukoweb.sentences import translated


@requires("manage_policies")
@require_http_methods(["GET", "POST"])
def policy_edit(request: HttpRequest) -> HttpResponse:
    """The rules in force, to be followed by the next version."""
    laboratory = request.user.laboratory
    policy = services.current_policy(laboratory)
    seen, now = seen_version(request, policy), services.rules_of(policy).as_dict()
    form = RulesForm(request.POST or None, initial=now)
    ranges = RangeFormSet(request.POST or None, initial=now["ranges"], prefix="ranges")
    limits = FlagRuleFormSet(request.POST or None, initial=now["flag_rules"], prefix="limits")
    if request.method == "POST" and form.is_valid() and ranges.is_valid() and limits.is_valid():
        rules = form.rules_with(lines_of(ranges), lines_of(limits), now)
        if rules and rules.as_dict() == now:
            form.add_error(None, gettext("Nothing was changed, so no new version was made."))
        elif rules and (new := _followed(request, rules, form, seen)):
            messages.success(request, _active(new))
            return redirect("policy_edit")
    return render(
        request,
        "review/policy_edit.html",
        {
            "form": form,
            "ranges": ranges,
            "limits": limits,
            "policy": policy,
            "versions": _versions(laboratory),
            "seen": seen,
        },
    )


@requires("manage_policies")
@require_http_methods(["GET", "POST"])
def review_rules(request: HttpRequest) -> HttpResponse:
    """Why a blood count needs a film: the rules, each with its two cases, and how often each was met.

    With `?offer` the lines of a public source stand below the laboratory's own, to be checked and activated.
    """
    offered = OFFERED if "offer" in request.GET else ()
    shown = _edit_table(request, "review_rules", ReviewRuleFormSet, title=gettext("Review rules"), offered=offered)
    if isinstance(shown, HttpResponse):
        return shown
    laboratory = request.user.laboratory
    rules = services.rules_of(services.current_policy(laboratory)).review_rules
    met, looked_at = met_lately(laboratory, rules)
    return render(
        request, "review/review_rules.html",
        {**shown, "met": met, "looked_at": looked_at, "days": LOOK_BACK.days, "offered": len(OFFERED),
         "source": SOURCE},
    )  # fmt: skip


@requires("manage_policies")
@require_http_methods(["GET", "POST"])
def delta_rules(request: HttpRequest) -> HttpResponse:
    """Which change against a patient's earlier result raises an alarm."""
    shown = _edit_table(request, "delta_rules", DeltaRuleFormSet, title=gettext("Delta rules"))
    return shown if isinstance(shown, HttpResponse) else render(request, "review/delta_rules.html", shown)


@requires("manage_policies")
@require_http_methods(["GET", "POST"])
def suggestion_rules(request: HttpRequest) -> HttpResponse:
    """Which phrases are proposed for the interpretation."""
    shown = _edit_table(request, "suggestion_rules", SuggestionRuleFormSet, title=gettext("Suggestion rules"))
    return shown if isinstance(shown, HttpResponse) else render(request, "review/suggestion_rules.html", shown)


def _edit_table(
    request: HttpRequest,
    name: str,
    formset: type[BaseFormSet],
    *,
    title: str,
    offered: Sequence[ReviewRule] = (),
) -> HttpResponse | dict[str, Any]:
    """Put a table of rules in force as the next version; what the page shows while there is none to go to."""
    laboratory = request.user.laboratory
    policy = services.current_policy(laboratory)
    seen, now = seen_version(request, policy), services.rules_of(policy).as_dict()
    form = ReasonForm(request.POST or None)
    own = {row["key"] for row in now[name]}
    initial = [*now[name], *(row for row in offered if row["key"] not in own)]
    lines = formset(request.POST or None, initial=initial, prefix=name.partition("_")[0])
    if request.method == "POST" and form.is_valid() and lines.is_valid():
        try:
            new = rules_from(now | {name: lines_of(lines)})
        except Refused as refused:
            form.add_error(None, translated(str(refused)))
        else:
            if followed := _followed(request, new, form, seen):
                messages.success(request, _active(followed))
                return redirect(name)
    return {"title": title, "form": form, "lines": lines, "seen": seen}


def seen_version(request: HttpRequest, policy: Policy | CriticalPolicy | None) -> str:
    """Return the version of the rules that stood on the page when a person began to edit them."""
    return request.POST.get("seen", str(policy.version if policy else 0))


def _followed(request: HttpRequest, rules: Rules, form: ReasonForm, seen: str) -> Policy | None:
    """Put rules in force; None where others came meanwhile, which the form says then."""
    try:
        return services.save_policy(
            request.user.laboratory, rules, reason=form.cleaned_data["reason"], by=request.user, seen=seen
        )
    except Refused as refused:
        form.add_error(None, str(refused))
        return None


def _active(policy: Policy) -> str:
    said = gettext("Version %(version)s of the rules is active. Signed reports keep theirs.")
    return said % {"version": policy.version}


def _versions(laboratory: Laboratory) -> list[tuple[Policy, list[str]]]:
    """Each version with what it changed against the one before it."""
    policies = list(Policy.objects.filter(laboratory=laboratory).select_related("created_by").order_by("version"))
    before, shown = services.rules_of(None).as_dict(), []
    for policy in policies:
        rules = services.rules_of(policy).as_dict()
        shown.append((policy, differences(before, rules)))
        before = rules
    return shown[::-1]


@requires("manage_policies")
@require_http_methods(["GET", "POST"])
def phrase_list(request: HttpRequest) -> HttpResponse:
    """The ready sentences of the laboratory."""
    laboratory = request.user.laboratory
    form = PhraseForm(request.POST or None, instance=Phrase(laboratory=laboratory))
    if request.method == "POST" and form.is_valid():
        try:
            services.save_phrase(form.instance, by=request.user)
        except Refused as refused:
            form.add_error(refused.field, str(refused))
        else:
            messages.success(request, gettext("The phrase is saved."))
            return redirect("phrase_list")
    phrases = Phrase.objects.filter(laboratory=laboratory)
    return render(request, "review/phrase_list.html", {"form": form, "phrases": phrases})


@requires("manage_policies")
@require_POST
def phrase_delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove a phrase; comments that used it keep their words."""
    services.delete_phrase(get_object_or_404(Phrase, pk=pk, laboratory=request.user.laboratory), by=request.user)
    messages.success(request, gettext("The phrase is removed."))
    return redirect("phrase_list")
