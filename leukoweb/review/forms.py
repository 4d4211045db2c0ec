"""Forms of the laboratory's rules and phrases: they make values of what was typed; policies.py says what is allowed."""

from dataclasses import fields

from django import forms

from detection.cell_types import BY_CODE
from leukoweb.refusals import Refused
from leukoweb.review.counting.differential import GROUPS
from leukoweb.review.counting.phrases import PLACES, unknown_places
from leukoweb.review.counting.policies import (
    BANDS,
    RANGE_KEYS,
    RANGE_UNITS,
    SMUDGE_CELLS,
    Rules,
    rules_from,
)
from leukoweb.review.models import Phrase


class RulesForm(forms.Form):
    """The rules of counting and flagging, with the reason of the change."""

    bands = forms.ChoiceField(choices=list(BANDS.items()), label="Band neutrophils")
    smudge_cells = forms.ChoiceField(choices=list(SMUDGE_CELLS.items()), label="Smudge cells")
    corrects_wbc = forms.BooleanField(
        required=False,
        label="Correct the WBC for erythroblasts",
        help_text="Switch it off where the analyser corrects its count already.",
    )
    nrbc_correction_from = forms.FloatField(label="Correct from (erythroblasts per 100 WBC)")
    minimum_count = forms.IntegerField(label="Fewer leukocytes than this are a limited count")
    decimals = forms.IntegerField(label="Decimals of percentages")
    blasts_first_limit = forms.FloatField(label="Blasts, first limit (%)")
    blasts_second_limit = forms.FloatField(label="Blasts, second limit (%)")
    lya_limit = forms.FloatField(label="Atypical lymphocytes, limit (%)")
    left_shift_limit = forms.FloatField(label="Left shift: bands and immature neutrophils, limit (%)")
    nrbc_limit = forms.FloatField(label="Erythroblasts, limit (per 100 WBC)")
    least_verified = forms.FloatField(
        required=False,
        label="Counted cells that a person verifies before a signature (%)",
        help_text="100 unless your laboratory has decided otherwise; both numbers are then printed on every report.",
    )
    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 2}), label="Why the rules change", help_text="Kept with the version."
    )

    def rules_with(self, ranges) -> Rules | None:
        """The checked rules with these reference ranges; None when something is wrong (then the form says what)."""
        given = {f.name: self.cleaned_data.get(f.name) for f in fields(Rules)}
        values = {name: value for name, value in given.items() if value is not None}
        try:
            return rules_from({**values, "ranges": ranges})
        except Refused as refused:
            for name, sentence in refused.fields.items():
                self.add_error(name if name in self.fields else None, sentence)
            return None


def _key_name(key):
    return f"{key} {BY_CODE[key].name}" if key in BY_CODE else GROUPS[key][0]


class RangeForm(forms.Form):
    """One reference range."""

    key = forms.ChoiceField(
        choices=[(key, _key_name(key)) for key in RANGE_KEYS], label="Type or group", initial=RANGE_KEYS[0]
    )
    unit = forms.ChoiceField(choices=[(unit, unit) for unit in RANGE_UNITS], label="Unit", initial=RANGE_UNITS[0])
    low = forms.FloatField(required=False, min_value=0, label="From")
    high = forms.FloatField(required=False, min_value=0, label="To")
    sex = forms.ChoiceField(choices=[("any", "any"), ("F", "female"), ("M", "male")], label="Sex", initial="any")
    age_from = forms.FloatField(min_value=0, initial=0, label="Age from (years)")
    age_under = forms.FloatField(required=False, min_value=0, label="Age under (years)")
    source = forms.CharField(max_length=200, label="Source")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            small = "form-select-sm" if isinstance(field, forms.ChoiceField) else "form-control-sm"
            kind = "form-select" if isinstance(field, forms.ChoiceField) else "form-control"
            field.widget.attrs |= {"class": f"{kind} {small}", "aria-label": field.label}


class NamedRanges(forms.BaseFormSet):
    """The ranges, each with a named box that removes it."""

    def add_fields(self, form, index):
        super().add_fields(form, index)
        form.fields["DELETE"].widget.attrs |= {"aria-label": "Remove", "class": "form-check-input"}


RangeFormSet = forms.formset_factory(RangeForm, NamedRanges, extra=1, can_delete=True, max_num=300, absolute_max=400)


def ranges_of(formset) -> list[dict]:
    """The ranges of a valid formset, without the deleted and the empty ones."""
    return [
        {name: form.cleaned_data[name] for name in RangeForm.base_fields}
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
            "text": "A place in braces takes the case's figure: " + " ".join(f"{{{name}}}" for name in PLACES)
        }

    def clean_text(self):
        """Refuse a place that no figure belongs to."""
        unknown = unknown_places(self.cleaned_data["text"])
        if unknown:
            raise forms.ValidationError(f"There is no figure for {{{unknown[0]}}}. Use one of the places named below.")
        return self.cleaned_data["text"]
