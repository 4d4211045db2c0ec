"""What people type to register, edit, find and reject cases; rules that bind several fields stand in services.py."""

from datetime import UTC, date, datetime
from typing import Any

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from leukoweb.cases.models import REJECTIONS, STATES, Case, Patient
from leukoweb.cases.services import CASE_FIELDS, CLOCKS_DIFFER
from leukoweb.given import is_offset_on_earth
from leukoweb.texts import MOST_REASON

SORTS = {
    "-received": gettext_lazy("Received, newest first"),
    "received": gettext_lazy("Received, oldest first"),
    "accession": gettext_lazy("Accession number"),
    "patient": gettext_lazy("Patient's name"),
}


class Moment(forms.DateTimeInput):
    """A date and time picker of the browser's own, to the second: what was sent so stays so."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%dT%H:%M:%S", attrs={"step": 1})


class LocalMoment(forms.DateTimeField):
    """A local time; in the doubled hour of autumn the one nearest to what was there, else the last that is over."""

    widget = Moment
    near: datetime | None = None

    def to_python(self, value: object) -> datetime | None:
        """Return the time with its offset; a time that the clocks left out is refused."""
        try:
            at = super().to_python(value)
            if at is not None and not is_offset_on_earth(at):
                raise forms.ValidationError(self.error_messages["invalid"], "invalid")
            return at
        except forms.ValidationError:
            try:
                stated = datetime.fromisoformat(str(value).strip())
            except ValueError:
                stated = None
            if stated is None or stated.tzinfo:
                raise
        zone = timezone.get_current_timezone()
        moments = [stated.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
        if moments[0].astimezone(UTC).astimezone(zone).replace(tzinfo=None) != stated:
            raise forms.ValidationError(
                gettext("The clocks went forward over this hour: it does not exist. Check the time.")
            )
        if self.near is None:  # not yet known: nothing that is entered lies in the future
            over = [moment for moment in moments if moment.astimezone(UTC) <= timezone.now() + CLOCKS_DIFFER]
            return max(over, default=moments[0], key=lambda moment: moment.astimezone(UTC))
        near = self.near
        return min(moments, key=lambda moment: abs(moment.astimezone(UTC) - near))


class Day(forms.DateInput):
    """A date picker of the browser's own."""

    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d")


class PatientForm(forms.ModelForm):
    """The patient's fields; the name may stay empty where the MRN is known."""

    name = Patient._meta.get_field("name").formfield(required=False, help_text=gettext_lazy("As on the request form."))

    class Meta:
        model = Patient
        fields = ["mrn", "name", "sex", "birth_date"]
        labels = {"mrn": "Medical record number (MRN)"}
        widgets = {"birth_date": Day}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["sex"].required = False


TIMES = ("collected_at", "received_at", "wbc_at")


class CaseForm(forms.ModelForm):
    """The specimen's fields."""

    class Meta:
        model = Case
        fields = CASE_FIELDS
        labels = {
            "wbc": "WBC",
            "collected_at": "Collected",
            "received_at": "Received",
            "wbc_unit": "Unit",
            "wbc_at": "Measured",
        }
        help_texts = {
            "accession_number": "Letters, digits, dot, slash, hyphen, underscore and blanks.",
        }
        field_classes = dict.fromkeys(TIMES, LocalMoment)
        widgets = {
            "priority": forms.RadioSelect,
            "clinical_note": forms.Textarea(attrs={"rows": 3}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["accession_number"].widget.attrs["autocomplete"] = "off"
        for name in TIMES:
            self.fields[name].near = getattr(self.instance, name) if self.instance.pk else None

    def clean(self) -> dict:
        """Leave a time that nobody changed exactly as it is."""
        cleaned = super().clean()
        for name in TIMES:
            known = self.initial.get(name)
            if known and cleaned.get(name) == known.replace(microsecond=0):  # the form shows no more than seconds
                cleaned[name] = known
        return cleaned

    def validate_unique(self) -> None:
        """The laboratory is not a field here: the service finds a number that is taken."""


class HoldForm(forms.Form):
    """Why a legal hold is set or lifted."""

    reason = forms.CharField(max_length=MOST_REASON, widget=forms.Textarea(attrs={"rows": 3}))


class RejectForm(forms.Form):
    """Why a specimen cannot be used."""

    code = forms.ChoiceField(
        choices=[
            ("", gettext_lazy("Another reason")),
            *((code, gettext_lazy(name)) for code, name in REJECTIONS.items()),
        ],
        required=False,
        label=gettext_lazy("Reason"),
    )
    reason = forms.CharField(
        max_length=MOST_REASON,
        label=gettext_lazy("In words"),
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("Such as “label and request form disagree”. Printed on the report of the rejection."),
    )


class DayField(forms.DateField):
    """A day to filter by, or until which something holds; at the ends of the calendar a day has no next."""

    widget = Day
    default_validators = [  # noqa: RUF012
        MinValueValidator(date(1900, 1, 1), gettext_lazy("Choose a day after 1899.")),
        MaxValueValidator(date(2199, 12, 31), gettext_lazy("Choose a day before 2200.")),
    ]


class Plain(forms.Form):
    """A form whose fields are laid out by hand in a template and still look like the others."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            is_choice = isinstance(field, forms.ChoiceField)
            field.widget.attrs["class"] = "form-select" if is_choice else "form-control"


class CaseFilter(Plain):
    """What the list of cases shows; nothing in it names a patient, so it may stand in the address."""

    state = forms.ChoiceField(choices=[("", gettext_lazy("Any state")), *STATES.items()], required=False)
    priority = forms.ChoiceField(choices=[("", gettext_lazy("Any priority")), *Case.Priority.choices], required=False)
    received_from = DayField(required=False, label=gettext_lazy("Received from"))
    received_to = DayField(required=False, label=gettext_lazy("to"))
    sort = forms.ChoiceField(choices=list(SORTS.items()), required=False)


class SearchForm(Plain):
    """Names and numbers of patients: sent by POST and kept in the session, never in an address."""

    search = forms.CharField(max_length=100, required=False, label=gettext_lazy("Accession number, MRN or name"))
