"""Pages on which an administrator writes the laboratory's rules and phrases; versions are followed, never edited."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_POST

from leukoweb.accounts.access import requires
from leukoweb.accounts.models import Laboratory
from leukoweb.refusals import Refused
from leukoweb.review import services
from leukoweb.review.forms import FlagRuleFormSet, PhraseForm, RangeFormSet, RulesForm, lines_of
from leukoweb.review.models import Phrase, Policy
from leukoweb.review.reports.seal import differences


@requires("manage_policies")
@require_http_methods(["GET", "POST"])
def policy_edit(request: HttpRequest) -> HttpResponse:
    """The rules in force, to be followed by the next version."""
    laboratory = request.user.laboratory
    policy = services.current_policy(laboratory)
    now = services.rules_of(policy).as_dict()
    form = RulesForm(request.POST or None, initial=now)
    ranges = RangeFormSet(request.POST or None, initial=now["ranges"], prefix="ranges")
    limits = FlagRuleFormSet(request.POST or None, initial=now["flag_rules"], prefix="limits")
    if request.method == "POST" and form.is_valid() and ranges.is_valid() and limits.is_valid():
        rules = form.rules_with(lines_of(ranges), lines_of(limits))
        if rules and rules.as_dict() == now:
            form.add_error(None, gettext("Nothing was changed, so no new version was made."))
        elif rules:
            new = services.save_policy(laboratory, rules, reason=form.cleaned_data["reason"], by=request.user)
            messages.success(
                request,
                gettext("Version %(version)s of the rules is active. Signed reports keep theirs.")
                % {"version": new.version},
            )
            return redirect("policy_edit")
    return render(
        request,
        "review/policy_edit.html",
        {"form": form, "ranges": ranges, "limits": limits, "policy": policy, "versions": _versions(laboratory)},
    )


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
