"""Break-glass: a pathologist opens a case of another laboratory with a reason; administrators are alerted.

The access lives in the session that asked for it, for hours, and only reads; services are not concerned.
"""

from typing import Any

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.http import require_http_methods

from leukoweb.accounts.access import requires
from leukoweb.accounts.middleware import EMERGENCY
from leukoweb.accounts.models import Laboratory, User
from leukoweb.accounts.services import note_emergency
from leukoweb.audit.services import record
from leukoweb.cases.models import Case


class EmergencyForm(forms.Form):
    """Which case, and why."""

    laboratory = forms.ModelChoiceField(Laboratory.objects.none(), empty_label=gettext_lazy("Choose"))
    accession_number = forms.CharField(max_length=64, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    reason = forms.CharField(
        min_length=15, max_length=2000, widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("Who is in danger, and why it cannot wait for the other laboratory."),
    )  # fmt: skip

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["laboratory"].queryset = Laboratory.objects.exclude(pk=user.laboratory_id)


@requires("open_in_emergency")
@require_http_methods(["GET", "POST"])
def emergency_open(request: HttpRequest) -> HttpResponse:
    """Ask for the case and the reason, then open it for reading."""
    form = EmergencyForm(request.POST or None, user=request.user)
    if request.method == "POST" and form.is_valid():
        asked = form.cleaned_data
        case = Case.objects.filter(
            laboratory=asked["laboratory"], accession_number=asked["accession_number"].strip()
        ).first()
        if case is None:
            record("emergency.refused", actor=request.user, laboratory=asked["laboratory"])
            form.add_error(
                "accession_number", gettext("That laboratory has no case of this number. The try is recorded.")
            )
        else:
            with transaction.atomic():
                access = note_emergency(case.pk, case.laboratory, reason=asked["reason"], by=request.user)
                record("emergency.open", actor=request.user, obj=access, case=case, changes={"reason": asked["reason"]})
            opened = request.session.get(EMERGENCY, {})
            request.session[EMERGENCY] = {**opened, str(case.pk): access.ends_at.timestamp()}
            messages.warning(request, gettext("Opened for reading, for four hours. Administrators were alerted."))
            return redirect("case_detail", case.pk)
    return render(request, "cases/emergency.html", {"form": form})
