"""Forms of interfaces and held messages; what a code may mean is said here, how it is applied in `services`."""

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils.translation import gettext, gettext_lazy

from leukoweb.accounts.models import Laboratory, User
from leukoweb.cases.cbc import PARAMETERS
from leukoweb.delivery.models import FILM, Interface, Message
from leukoweb.delivery.results_in import FLAG, IGNORE
from leukoweb.numbers import number
from leukoweb.sentences import translated
from leukoweb.texts import MOST_REASON

MOST_FILE_BYTES = 2**20


class InterfaceForm(forms.ModelForm):
    """One interface; its order codes are typed one a line."""

    codes = forms.CharField(
        required=False,
        max_length=20_000,
        label=gettext_lazy("Codes"),
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text=gettext_lazy(
            "One a line: the sender's code, a blank, what it means here. Orders: “FILM film”, “CBC ignore”. "
            "Blood counts: “RDW-CV RDW”, “Blasts? flag”, “GLU ignore”; WBC, RBC, HGB and their like are known. "
            "Messages with other codes are held."
        ),
    )

    site = forms.URLField(
        required=False,
        assume_scheme="https",
        max_length=200,
        label=gettext_lazy("Address of these pages"),
        help_text=gettext_lazy(
            "Such as https://leukoweb.hospital: for the code on the embedded PDF and the system of FHIR identifiers."
        ),
    )

    class Meta:
        model = Interface
        fields = [
            "name", "direction", "is_active", "host", "port", "path", "use_tls", "charset", "authority",
            "accession_from", "codes", "embeds_pdf", "site",
        ]  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["codes"] = "\n".join(f"{code} {meaning}" for code, meaning in self.instance.codes.items())

    def clean_codes(self) -> dict[str, str]:
        """Return code to meaning."""
        codes = {}
        for line in self.cleaned_data["codes"].splitlines():
            if not line.strip():
                continue
            code, _, meaning = line.strip().rpartition(" ")
            meanings = Interface(direction=self.cleaned_data.get("direction", "")).meanings
            if not code or meaning not in meanings:
                raise forms.ValidationError(
                    gettext("“%(strip)s”: write the code, a space, and %(names)s.")
                    % {"strip": line.strip(), "names": " or ".join(meanings)}
                )
            codes[code.strip()] = meaning
        return codes

    def clean(self) -> dict:
        """Refuse what a direction lacks."""
        cleaned = super().clean()
        if cleaned.get("direction") == Interface.Direction.FHIR_OUT and not cleaned.get("site"):
            self.add_error(
                "site", gettext_lazy("Results out by FHIR need this address: it is the system of their identifiers.")
            )
        return cleaned


class CodesForm(forms.Form):
    """What the codes mean that held messages of an interface carry; one left open stays held."""

    def __init__(self, given: dict | None, interface: Interface) -> None:
        super().__init__(given)
        self.codes: dict[str, str] = {}
        waiting = Message.objects.filter(interface=interface, state=Message.State.HELD).exclude(unknown_codes={})
        for codes in waiting.values_list("unknown_codes", flat=True):
            self.codes |= codes
        choices = [("", gettext("not yet")), *((meaning, _words(meaning)) for meaning in interface.meanings)]
        for place, (code, name) in enumerate(sorted(self.codes.items())):
            label = f"{code} ({name})" if name and name != code else code
            self.fields[f"code{place}"] = forms.ChoiceField(choices=choices, required=False, label=label)

    def chosen(self) -> dict[str, str]:
        """Return the codes that were given a meaning."""
        given = (self.cleaned_data[f"code{place}"] for place in range(len(self.codes)))
        return {code: meaning for code, meaning in zip(sorted(self.codes), given) if meaning}


def _words(meaning: str) -> str:
    if meaning in PARAMETERS:
        return f"{meaning}, {translated(PARAMETERS[meaning].name)}"
    return {FLAG: gettext("a flag of the analyser"), IGNORE: gettext("ignore it"), FILM: gettext("a blood film")}[
        meaning
    ]


class CountsForm(forms.Form):
    """A file of blood counts, and the interface whose codes it uses."""

    interface = forms.ModelChoiceField(Interface.objects.none(), empty_label=None)
    file = forms.FileField(
        label=gettext_lazy("CSV file"),
        help_text=gettext_lazy(
            "Columns: specimen, code, value, unit; also range, flag, status, measured_at, analyser."
        ),
    )

    def __init__(self, *args: Any, laboratory: Laboratory) -> None:
        super().__init__(*args)
        self.fields["interface"].queryset = Interface.objects.filter(
            laboratory=laboratory, is_active=True, direction=Interface.Direction.CBC_CSV
        )

    def clean_file(self) -> bytes:
        """Return the bytes of the file; one that is too large is refused."""
        file = self.cleaned_data["file"]
        if file.size > MOST_FILE_BYTES:
            raise forms.ValidationError(
                gettext("The file is larger than %(number)s MiB: send it in parts.")
                % {"number": number(MOST_FILE_BYTES / 2**20, "g")}
            )
        return file.read()


class MessageFilter(forms.Form):
    """What the list of messages is narrowed to."""

    interface = forms.ModelChoiceField(
        Interface.objects.none(), required=False, empty_label=gettext_lazy("Any interface")
    )
    state = forms.ChoiceField(choices=[("", gettext_lazy("Any state")), *Message.State.choices], required=False)

    def __init__(self, query: QueryDict | None, user: User) -> None:
        super().__init__(query)
        self.fields["interface"].queryset = Interface.objects.filter(laboratory=user.laboratory)

    def narrow(self, messages: QuerySet[Message]) -> QuerySet[Message]:
        """Return the messages that fit the values that make sense."""
        self.full_clean()
        chosen = self.cleaned_data
        return messages.filter(**{name: chosen[name] for name in ("interface", "state") if chosen.get(name)})


class DismissForm(forms.Form):
    """Why a held message has no effect."""

    reason = forms.CharField(max_length=MOST_REASON, widget=forms.Textarea(attrs={"rows": 2}))
