"""Forms of the laboratory's rules and phrases: they make values of what was typed; policies.py says what is allowed."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from django import forms
from django.utils.text import slugify
from django.utils.translation import gettext, gettext_lazy

from detection.cell_types import BY_CODE
from leukoweb.refusals import Refused
from leukoweb.review.counting.delta_rules import ACTIONS as DELTA_ACTIONS
from leukoweb.review.counting.delta_rules import DIRECTIONS, MEASURES
from leukoweb.review.counting.delta_rules import subjects as delta_subjects
from leukoweb.review.counting.flag_rules import COMPARISONS, ITEMS, MOST_RULES, SEVERITIES, UNITS
from leukoweb.review.counting.groups import GROUPS
from leukoweb.review.counting.phrases import PLACES, unknown_places
from leukoweb.review.counting.policies import (
    BANDS,
    FOUR_EYES,
    RANGE_KEYS,
    RANGE_UNITS,
    RELEASE,
    Rules,
    rules_from,
)
from leukoweb.review.counting.review_rules import ACTIONS
from leukoweb.review.counting.suggestion_rules import MOST_TEXT
from leukoweb.review.counting.table_checks import Row
from leukoweb.review.models import Phrase
from leukoweb.sentences import translated
from leukoweb.texts import MOST_REASON


def in_words(choices: Mapping[str, str]) -> list[tuple[str, Any]]:
    """Return the choices of a rule with their stored words in the language of the page."""
    return [(key, gettext_lazy(words)) for key, words in choices.items()]


class ReasonForm(forms.Form):
    """Why rules change."""

    reason = forms.CharField(
        max_length=MOST_REASON, widget=forms.Textarea(attrs={"rows": 2}), label=gettext_lazy("Reason for change"),
        help_text=gettext_lazy("Kept with the version."),
    )  # fmt: skip


class RulesForm(ReasonForm):
    """The rules of counting and flagging, with the reason of the change."""

    bands = forms.ChoiceField(choices=in_words(BANDS), label=gettext_lazy("Band neutrophils"))
    corrects_wbc = forms.BooleanField(
        required=False,
        label=gettext_lazy("Correct the WBC for nucleated red cells"),
        help_text=gettext_lazy("Switch it off where the analyser corrects its count already."),
    )
    nrbc_correction_from = forms.FloatField(label=gettext_lazy("Correct from (nucleated red cells per 100 WBC)"))
    minimum_count = forms.IntegerField(label=gettext_lazy("Minimum cells for a full differential"))
    decimals = forms.IntegerField(
        label=gettext_lazy("Decimals of percentages"), help_text=gettext_lazy("0 gives whole percent.")
    )
    least_verified = forms.FloatField(
        required=False,
        label=gettext_lazy("Counted cells that a person verifies before a signature (%)"),
        help_text=gettext_lazy(
            "100 unless your laboratory has decided otherwise; both numbers are then printed on every report."
        ),
    )
    release = forms.ChoiceField(choices=in_words(RELEASE), label=gettext_lazy("Release"))
    release_least_count = forms.IntegerField(label=gettext_lazy("A technologist releases from (leukocytes)"))
    release_needs_cbc = forms.BooleanField(
        required=False, label=gettext_lazy("A technologist releases only with a complete blood count")
    )
    four_eyes = forms.ChoiceField(choices=in_words(FOUR_EYES), label=gettext_lazy("Second person"))
    practical_more_cells = forms.IntegerField(
        label=gettext_lazy("Most further cells that are practical to count"),
        help_text=gettext_lazy("Beyond it: “not practical”."),
    )
    wbc_hours = forms.FloatField(label=gettext_lazy("Warn if the WBC is measured later than (hours)"))
    wbc_hours_source = forms.CharField(max_length=500, label=gettext_lazy("Source of these hours"))
    film_wbc_per_mm2 = forms.FloatField(
        label=gettext_lazy("WBC (10⁹/L) for one leukocyte per mm² of film"),
        help_text=gettext_lazy("Compares film and analyser. Depends on how films are made here; 0 switches it off."),
    )
    film_tolerance = forms.FloatField(label=gettext_lazy("Film and analyser contradict each other beyond (times)"))
    film_source = forms.CharField(max_length=500, label=gettext_lazy("Source of the comparison of film and analyser"))
    apl_bilobed = forms.IntegerField(label=gettext_lazy("Possible APL: bilobed promyelocytes from"))
    apl_promyelocytes = forms.IntegerField(label=gettext_lazy("Possible APL: promyelocytes from"))
    apl_share = forms.FloatField(
        label=gettext_lazy("Possible APL: share of promyelocytes in promyelocytes and blasts from (%)")
    )
    apl_maturation = forms.FloatField(
        label=gettext_lazy("Possible APL: complete maturation from"),
        help_text=gettext_lazy(
            "Myelocytes, metamyelocytes and bands for each promyelocyte. Then a left shift, not APL."
        ),
    )
    apl_source = forms.CharField(max_length=500, label=gettext_lazy("Source of the limits of possible APL"))
    findings_required = forms.BooleanField(
        required=False,
        label=gettext_lazy("Require red cells, white cells, platelets and parasites before a signature"),
        help_text=gettext_lazy(
            "Each is graded or marked “not examined”. Off: what nobody marked is printed as not examined."
        ),
    )
    schistocytes_above = forms.FloatField(label=gettext_lazy("Schistocytes are called above (% of red cells)"))
    schistocytes_source = forms.CharField(max_length=500, label=gettext_lazy("Source of the limit of schistocytes"))
    film_by_detector = forms.BooleanField(
        required=False,
        label=gettext_lazy("Have the detector count red cells and platelets, as help"),
        help_text=gettext_lazy("Shown beside the findings; nothing of it enters a report unless a person accepts it."),
    )
    platelet_field_mm2 = forms.FloatField(
        label=gettext_lazy("Platelets are given per field of (mm²)"),
        help_text=gettext_lazy("0.038 mm² is a field of 0.22 mm: field number 22, objective 100x."),
    )
    platelet_factor = forms.FloatField(
        required=False,
        label=gettext_lazy("Platelets (10⁹/L) for one platelet per field"),
        help_text=gettext_lazy("Only a factor that this laboratory has validated. Empty: no estimate is shown."),
    )
    platelet_factor_source = forms.CharField(
        required=False, max_length=500, label=gettext_lazy("How the platelet factor was validated")
    )
    platelet_factor_on = forms.CharField(
        required=False, max_length=10, widget=forms.DateInput(attrs={"type": "date"}),
        label=gettext_lazy("Platelet factor validated on"),
    )  # fmt: skip
    platelet_factor_by = forms.CharField(
        required=False, max_length=500, label=gettext_lazy("Platelet factor validated by")
    )
    platelet_tolerance = forms.FloatField(
        label=gettext_lazy("Say when platelets of film and analyser differ by more than (%)")
    )

    def rules_with(self, ranges: list[Row], flag_rules: list[Row], now: dict[str, Any]) -> Rules | None:
        """The checked rules with these tables, and those of other pages as they are `now`.

        None when something is wrong (then the form says what).
        """
        given = {f.name: self.cleaned_data.get(f.name) for f in fields(Rules)}
        values = {name: value for name, value in given.items() if value is not None}
        try:
            tables = {"ranges": ranges, "flag_rules": flag_rules}
            tables |= {name: now[name] for name in ("review_rules", "delta_rules", "suggestion_rules")}
            return rules_from({**values, **tables})
        except Refused as refused:
            for name, sentence in refused.fields.items():
                self.add_error(name if name in self.fields else None, sentence)
            return None


def _key_name(key: str) -> str:
    return f"{key} {BY_CODE[key].name}" if key in BY_CODE else GROUPS[key][0]


SEXES = [("any", gettext_lazy("any")), ("F", gettext_lazy("female")), ("M", gettext_lazy("male"))]


class Line(forms.Form):
    """One line of a table of rules: small fields, each with its own name for a screen reader."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            kind = "form-control form-control-sm"
            if isinstance(field, forms.BooleanField):
                kind = "form-check-input"
            elif isinstance(field, forms.ChoiceField):
                kind = "form-select form-select-sm"
            field.widget.attrs |= {"class": kind, "aria-label": field.label}

    def clean_age_under(self) -> str | None:
        """An empty age is no limit."""
        return self.cleaned_data["age_under"] or None


class LimitLine(Line):
    """One limit with an id of its own: a new one is named after its title and limit."""

    nameless = "limit"

    def clean(self) -> dict[str, Any]:
        """Name a new line."""
        given = super().clean() or self.cleaned_data
        if not given.get("key") and given.get("title"):
            title = slugify(given["title"]).replace("-", "_")[:28] or self.nameless
            given["key"] = f"{title}_{given.get('limit', 0):g}".replace(".", "_")
        return given


class RangeForm(Line):
    """One reference range."""

    key = forms.ChoiceField(
        choices=[(key, _key_name(key)) for key in RANGE_KEYS],
        label=gettext_lazy("Type or group"),
        initial=RANGE_KEYS[0],
    )
    unit = forms.ChoiceField(
        choices=[(unit, unit) for unit in RANGE_UNITS], label=gettext_lazy("Unit"), initial=RANGE_UNITS[0]
    )
    low = forms.FloatField(required=False, min_value=0, label=gettext_lazy("From"))
    high = forms.FloatField(required=False, min_value=0, label=gettext_lazy("To"))
    sex = forms.ChoiceField(choices=SEXES, label=gettext_lazy("Sex"), initial="any")
    age_from = forms.CharField(max_length=6, initial="0d", label=gettext_lazy("Age from"))
    age_under = forms.CharField(max_length=6, required=False, label=gettext_lazy("Age under"))
    source = forms.CharField(max_length=200, label=gettext_lazy("Source"))


class FlagRuleForm(LimitLine):
    """One limit that raises a flag."""

    nameless = "flag"

    key = forms.CharField(max_length=40, required=False, label=gettext_lazy("Id"))
    title = forms.CharField(max_length=60, label=gettext_lazy("Flag"))
    item = forms.ChoiceField(
        choices=[(key, many) for key, (_, many, _) in ITEMS.items()], label=gettext_lazy("Of"), initial="blasts"
    )
    comparison = forms.ChoiceField(choices=list(COMPARISONS.items()), label=gettext_lazy("When"), initial=">=")
    limit = forms.FloatField(min_value=0, label=gettext_lazy("Limit"))
    unit = forms.ChoiceField(choices=list(UNITS.items()), label=gettext_lazy("Unit"), initial="cells")
    sex = forms.ChoiceField(choices=SEXES, label=gettext_lazy("Sex"), initial="any")
    age_from = forms.CharField(max_length=6, initial="0d", label=gettext_lazy("Age from"))
    age_under = forms.CharField(max_length=6, required=False, label=gettext_lazy("Age under"))
    severity = forms.ChoiceField(choices=list(SEVERITIES.items()), label=gettext_lazy("Severity"), initial="urgent")
    bench = forms.CharField(max_length=300, required=False, label=gettext_lazy("Add on screen"))
    report = forms.CharField(max_length=300, required=False, label=gettext_lazy("Add on the report"))
    source = forms.CharField(max_length=300, label=gettext_lazy("Source"))


class ConditionLine(Line):
    """One rule with a condition, a case that meets it and one that does not; a new one is named after its title."""

    key = forms.CharField(max_length=40, required=False, label=gettext_lazy("Id"))
    title = forms.CharField(max_length=60, label=gettext_lazy("Title"))
    when = forms.CharField(max_length=300, label=gettext_lazy("When"))
    sex = forms.ChoiceField(choices=SEXES, label=gettext_lazy("Sex"), initial="any")
    age_from = forms.CharField(max_length=6, initial="0d", label=gettext_lazy("Age from"))
    age_under = forms.CharField(max_length=6, required=False, label=gettext_lazy("Age under"))
    true_case = forms.CharField(max_length=300, label=gettext_lazy("A case that meets it"))
    false_case = forms.CharField(max_length=300, label=gettext_lazy("A case that does not"))
    source = forms.CharField(max_length=300, label=gettext_lazy("Source"))

    def clean(self) -> dict[str, Any]:
        """Name a new line."""
        given = super().clean() or self.cleaned_data
        if not given.get("key") and given.get("title"):
            given["key"] = slugify(given["title"]).replace("-", "_")[:40] or "rule"
        return given


class ReviewRuleForm(ConditionLine):
    """One reason to look at the film of a blood count."""

    field_order = ("key", "title", "when", "action")

    title = forms.CharField(max_length=60, label=gettext_lazy("Reason"))
    action = forms.ChoiceField(choices=in_words(ACTIONS), label=gettext_lazy("Action"), initial="film")


class SuggestionRuleForm(ConditionLine):
    """One phrase that is proposed for the interpretation."""

    field_order = ("key", "title", "when", "text")

    text = forms.CharField(max_length=MOST_TEXT, label=gettext_lazy("Phrase"))


class DeltaRuleForm(LimitLine):
    """One change that raises an alarm."""

    nameless = "delta"

    key = forms.CharField(max_length=40, required=False, label=gettext_lazy("Id"))
    title = forms.CharField(max_length=60, label=gettext_lazy("Change"))
    subject = forms.ChoiceField(label=gettext_lazy("Of"))
    direction = forms.ChoiceField(choices=in_words(DIRECTIONS), label=gettext_lazy("Direction"), initial="any")
    limit = forms.FloatField(min_value=0, label=gettext_lazy("By at least"))
    measure = forms.ChoiceField(choices=in_words(MEASURES), label=gettext_lazy("Unit"), initial="amount")
    span = forms.CharField(max_length=6, initial="72h", label=gettext_lazy("Within"))
    action = forms.ChoiceField(choices=in_words(DELTA_ACTIONS), label=gettext_lazy("Alarm"), initial="mix_up")
    source = forms.CharField(max_length=300, label=gettext_lazy("Source"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["subject"].choices = [
            (key, f"{translated(name)} ({translated(unit)})") for key, (name, unit) in delta_subjects().items()
        ]


class NamedLines(forms.BaseFormSet):
    """The lines of a table, each with a named box that removes it."""

    def add_fields(self, form: forms.Form, index: int | None) -> None:
        super().add_fields(form, index)
        form.fields["DELETE"].widget.attrs |= {"aria-label": "Remove", "class": "form-check-input"}


def table_of(line: type[Line], most: int = MOST_RULES) -> type[forms.BaseFormSet]:
    """Return the formset of a table of rules; what is posted beyond its limit is still read, to be refused."""
    return forms.formset_factory(
        line, NamedLines, extra=1, can_delete=True, max_num=most, absolute_max=most + 100
    )  # fmt: skip


RangeFormSet = table_of(RangeForm, 300)
FlagRuleFormSet, ReviewRuleFormSet = table_of(FlagRuleForm), table_of(ReviewRuleForm)
SuggestionRuleFormSet, DeltaRuleFormSet = table_of(SuggestionRuleForm), table_of(DeltaRuleForm)


def lines_of(formset: forms.BaseFormSet) -> list[Any]:
    """The lines of a valid formset, without the deleted and the empty ones; its table is still to be checked."""
    return [
        {name: form.cleaned_data[name] for name in form.base_fields}
        for form in formset
        if form.cleaned_data and not form.cleaned_data.get("DELETE")
    ]


class PhraseForm(forms.ModelForm):
    """A ready sentence for comments."""

    class Meta:
        model = Phrase
        fields = ["name", "text"]
        widgets = {"text": forms.Textarea(attrs={"rows": 2})}
        help_texts = {
            "text": "Placeholders are replaced by the case's values: " + " ".join(f"{{{name}}}" for name in PLACES)
        }

    def clean_text(self) -> str:
        """Refuse a place that no figure belongs to."""
        unknown = unknown_places(self.cleaned_data["text"])
        if unknown:
            raise forms.ValidationError(
                gettext("There is no figure for {%(unknown)s}. Use one of the places named below.")
                % {"unknown": unknown[0]}
            )
        return self.cleaned_data["text"]
