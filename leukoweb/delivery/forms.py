"""Forms of interfaces and held messages; what a code may mean is said here, how it is applied in `services`."""

from django import forms

from leukoweb.delivery.models import Interface, Message

MEANINGS = ("film", "ignore")


class InterfaceForm(forms.ModelForm):
    """One interface; its order codes are typed one a line."""

    codes = forms.CharField(
        required=False,
        label="Order codes",
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text="One a line, such as “FILM film” or “CBC ignore”. Orders with other codes are held.",
    )

    class Meta:
        model = Interface
        fields = [
            "name", "direction", "is_active", "host", "port", "use_tls", "charset", "authority", "accession_from",
            "codes",
        ]  # fmt: skip

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.initial["codes"] = "\n".join(f"{code} {meaning}" for code, meaning in self.instance.codes.items())

    def clean_codes(self) -> dict[str, str]:
        """Return code to meaning."""
        codes = {}
        for line in self.cleaned_data["codes"].splitlines():
            if not line.strip():
                continue
            code, _, meaning = line.strip().rpartition(" ")
            if not code or meaning not in MEANINGS:
                raise forms.ValidationError(f"“{line.strip()}”: write the code, a space, and {' or '.join(MEANINGS)}.")
            codes[code.strip()] = meaning
        return codes

    def clean(self) -> dict:
        """Refuse a name that the laboratory uses already."""
        cleaned = super().clean()
        same = Interface.objects.filter(laboratory=self.instance.laboratory, name=cleaned.get("name"))
        if same.exclude(pk=self.instance.pk).exists():
            self.add_error("name", "There is an interface of this name already. Choose another name.")
        return cleaned


class MessageFilter(forms.Form):
    """What the list of messages is narrowed to."""

    interface = forms.ModelChoiceField(Interface.objects.none(), required=False, empty_label="Any interface")
    state = forms.ChoiceField(choices=[("", "Any state"), *Message.State.choices], required=False)

    def __init__(self, query, user) -> None:
        super().__init__(query)
        self.fields["interface"].queryset = Interface.objects.filter(laboratory=user.laboratory)

    def narrow(self, messages):
        """Return the messages that fit the values that make sense."""
        self.full_clean()
        chosen = self.cleaned_data
        return messages.filter(**{name: chosen[name] for name in ("interface", "state") if chosen.get(name)})


class DismissForm(forms.Form):
    """Why a held message has no effect."""

    reason = forms.CharField(max_length=1000, widget=forms.Textarea(attrs={"rows": 2}))
