"""Forms of critical results: a call, a period, and the laboratory's rules of what is critical."""

from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from leukoweb.cases.forms import DayField
from leukoweb.review.counting.flag_rules import COMPARISONS, FlagRule
from leukoweb.review.criticals.figures import MOST_DAYS
from leukoweb.review.criticals.models import CriticalEntry
from leukoweb.review.criticals.rules import CODES, CriticalRule, subjects
from leukoweb.review.forms import LimitLine, ReasonForm, table_of
from leukoweb.sentences import translated
from leukoweb.texts import MOST_REASON


class CallForm(forms.Form):
    """One attempt to tell somebody a critical result."""

    told_to = forms.CharField(max_length=200, label=_("Name of the person"))
    told_role = forms.CharField(max_length=100, label=_("Role"))
    how = forms.ChoiceField(choices=CriticalEntry.How.choices, label=_("How"))
    outcome = forms.ChoiceField(
        choices=[
            ("read_back", _("reached, value read back")),
            ("reached", _("reached, not read back")),
            ("missed", _("not reached")),
        ],
        label=_("Outcome"),
    )
    told_at = forms.DateTimeField(
        required=False, label=_("When"), widget=forms.DateTimeInput(attrs={"type": "datetime-local"})
    )

    def call(self) -> dict[str, Any]:
        """Return the checked call as the service takes it."""
        given = {name: self.cleaned_data[name] for name in ("told_to", "told_role", "how", "told_at")}
        outcome = self.cleaned_data["outcome"]
        return {**given, "is_reached": outcome != "missed", "is_read_back": outcome == "read_back"}


class PeriodForm(forms.Form):
    """A period of days, both included; without one the last thirty days."""

    first = DayField(required=False, label=_("From"))
    last = DayField(required=False, label=_("To"))

    def clean(self) -> dict[str, Any]:
        """Fill in the thirty days up to today, and refuse a period that ends before it begins."""
        given = super().clean() or self.cleaned_data
        today = timezone.localdate()
        last = given.get("last") or max(today, given.get("first") or today)
        first = given.get("first") or last - timedelta(days=29)
        if last < first:
            self.add_error("last", _("The period ends before it begins."))
        elif (last - first).days > MOST_DAYS:
            self.add_error("first", _("The period is too long: choose at most ten years."))
        return {**given, "first": first, "last": last}


class ExceptionForm(forms.Form):
    """Critical limits that need not be told of one patient until a day."""

    mrn = forms.CharField(max_length=64, label=_("MRN"))
    limits = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple, label=_("Critical limits"),
        help_text=_("Limits for which the rules allow exceptions."),
    )  # fmt: skip
    until = DayField(label=_("Last day"))
    reason = forms.CharField(
        max_length=MOST_REASON, label=_("Reason"), help_text=_("Printed on every report with a covered result."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )  # fmt: skip

    def __init__(self, *args: Any, rows: list[CriticalRule], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["limits"].choices = [(row["key"], translated(row["title"])) for row in rows]


class CriticalRuleForm(LimitLine):
    """One critical limit."""

    nameless = "critical"

    key = forms.CharField(max_length=40, required=False, label=_("Id"))
    title = forms.CharField(max_length=60, label=_("Critical result"))
    subject = forms.ChoiceField(label=_("Of"))
    comparison = forms.ChoiceField(choices=list(COMPARISONS.items()), label=_("When"), initial=">=")
    limit = forms.FloatField(min_value=0, label=_("Limit"))
    age_from = forms.CharField(max_length=6, initial="0d", label=_("Age from"))
    age_under = forms.CharField(max_length=6, required=False, label=_("Age under"))
    first_only_days = forms.IntegerField(min_value=0, initial=0, label=_("Not again within (days)"))
    may_except = forms.BooleanField(required=False, label=_("Exceptions"))
    code = forms.ChoiceField(choices=[(code, f"{code}: {words}") for code, words in CODES.items()], label=_("OBX-8"))
    source = forms.CharField(max_length=300, label=_("Source"))

    def __init__(self, *args: Any, flag_rules: list[FlagRule], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["subject"].choices = list(subjects(flag_rules).items())


CriticalRuleFormSet = table_of(CriticalRuleForm)


class CriticalPolicyForm(ReasonForm):
    """Who is told by the software when nobody has called, with the reason of the change."""

    field_order = ("minutes", "people", "webhook", "exception_days", "reason")

    minutes = forms.IntegerField(
        min_value=1, max_value=1440, label=_("Tell the next person after (minutes)"),
        help_text=_("The first person is told at detection. It ends when a call has reached somebody."),
    )  # fmt: skip
    people = forms.CharField(
        required=False, max_length=3000, widget=forms.Textarea(attrs={"rows": 4}), label=_("Escalation list"),
        help_text=_("User names, one a line, in the order in which they are told. They get an e-mail if the server "
                    "sends mail and their account has an address."),
    )  # fmt: skip
    webhook = forms.CharField(
        required=False, max_length=500, label=_("Webhook"),
        help_text=_("Address that gets each notice as signed JSON, without names of patients."),
    )  # fmt: skip
    exception_days = forms.IntegerField(
        min_value=1, max_value=366, label=_("Longest exception (days)"),
        help_text=_("How many days ahead the last day of an exception of a patient may lie."),
    )  # fmt: skip

    def clean_people(self) -> list[str]:
        """Return one user name a line."""
        return [line.strip() for line in self.cleaned_data["people"].splitlines() if line.strip()]
